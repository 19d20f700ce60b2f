using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The small benchmarks under BenchmarkDotNet: what one operation costs, in nanoseconds and in managed bytes (the latter
/// must be 0). They run in this process, because they reach for internals and because the generated project of the default toolchain
/// would be built under this repository's rules, which it was not written for. For the same reason there is no [DisassemblyDiagnoser]: in
/// this version of BenchmarkDotNet it does not work with an in-process toolchain. The runtime itself prints the machine code:
/// <c>DOTNET_JitStdOutFile=code.txt DOTNET_JitDisasm="AllocatePages FreePages"</c> before the command.</summary>
internal sealed class BenchCommand : ICommand
{
    public string Name => "bench";

    public string Summary =>
        "BenchmarkDotNet: ns and managed bytes an operation; --filter '*', --job short|dry|medium|long, --list; or --limit: "
        + "bytes treated per CPU second against a bare loop of the same calls; --blocks 512, --rounds 15, --capacity 32";

    /// <summary>Every class with benchmarks in this program.</summary>
    private static Type[] Classes => [typeof(BlockBenchmarks), typeof(ReactorBenchmarks), typeof(RingBenchmarks)];

    public int Run(Arguments arguments)
    {
        string filter = arguments.Text("filter", "*")!;
        string job = arguments.Choice("job", "short", "dry", "medium", "long");
        bool list = arguments.Flag("list");
        bool limit = arguments.Flag("limit");
        int blocks = arguments.Integer("blocks", 512, 1, 2048);
        int capacity = arguments.Integer("capacity", new AerationOptions().ReactorCapacity, 1, 1024);
        int rounds = arguments.Integer("rounds", 15, 1, 999);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        if (limit)
        {
            return BenchLimit.RunCompiled(blocks, rounds, capacity, report, arguments.JsonPath);
        }

        BenchmarkSwitcher switcher = BenchmarkSwitcher.FromTypes(Classes);
        if (list)
        {
            switcher.Run(["--list", "flat"], Configure(job));
            return Program.Success;
        }

        if (!Classes.SelectMany(c => BenchmarkConverter.TypeToBenchmarks(c).BenchmarksCases).Any(new GlobFilter([filter]).Predicate))
        {
            throw new UsageException($"option --filter: '{filter}' names no benchmark; allowed: what --list shows, with * for any text");
        }

        Console.Out.WriteLine(Machine.Line());
        var summaries = switcher.Run(["--filter", filter], Configure(job)).ToArray();
        BenchmarkReport[] reports = [.. summaries.SelectMany(s => s.Reports)];
        Array.ForEach(reports, r => report.Row(Row(r)));
        report.Save();
        return reports.Length > 0 && reports.All(r => r.Success) && !summaries.Any(s => s.HasCriticalValidationErrors) ? Program.Success : Program.Failure;
    }

    private static ManualConfig Configure(string job)
    {
        Job chosen = job switch { "dry" => Job.Dry, "medium" => Job.MediumRun, "long" => Job.LongRun, _ => Job.ShortRun };
        ManualConfig config = ManualConfig.CreateEmpty()
            .AddLogger(ConsoleLogger.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .AddDiagnoser(MemoryDiagnoser.Default)
            .WithArtifactsPath(Path.Combine("artifacts", "bench"))
            .AddJob(chosen.WithLaunchCount(1).WithToolchain(InProcessEmitToolchain.Instance));

        // A dry run measures nothing, only that each benchmark runs; so it may run on a Debug build too.
        return job == "dry" ? config.WithOptions(ConfigOptions.DisableOptimizationsValidator) : config;
    }

    private static (string Name, object? Value)[] Row(BenchmarkReport report)
    {
        BenchmarkCase benchmark = report.BenchmarkCase;
        List<(string, object?)> fields = [("benchmark", $"{benchmark.Descriptor.Type.Name}.{benchmark.Descriptor.WorkloadMethod.Name}")];
        fields.AddRange(benchmark.Parameters.Items.Select(p => (p.Name.ToLowerInvariant(), (object?)(p.Value is int number ? number : $"{p.Value}"))));
        fields.Add(("mean_ns", report.ResultStatistics?.Mean));
        fields.Add(("median_ns", report.ResultStatistics?.Median));
        fields.Add(("error_ns", report.ResultStatistics?.StandardError));
        fields.Add(("managed_bytes", report.GcStats.GetBytesAllocatedPerOperation(benchmark)));
        return [.. fields];
    }
}
