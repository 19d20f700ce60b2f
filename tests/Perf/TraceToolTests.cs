using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Threading.Tasks;
using LowLevel.Perf;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The public tool dotnet-trace, of the version in .config/dotnet-tools.json, on our processes and our files. Where it cannot be had
/// these tests skip and say so.</summary>
public sealed class TraceToolTests : IDisposable
{
    /// <summary>The README's line; the test puts the process in, and adds where to and how long.</summary>
    private const string CollectLine = "dotnet-trace collect -p PID --providers LowLevel-Allocator:0xffff:5";

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-tool-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void A_running_service_is_recorded_by_the_line_that_the_README_shows()
    {
        RequireTool();
        Assert.Contains(CollectLine, Repository.Read("README.md"), StringComparison.Ordinal);
        string trace = Path.Combine(folder.FullName, "service.nettrace");
        using ChildProcess service = ChildProcess.Start("service", "trace-child", "--seconds", "30");
        long process = service.WaitFor("ready").Whole(1);
        service.Send("go");
        string[] line = CollectLine.Replace("PID", process.ToString(System.Globalization.CultureInfo.InvariantCulture), StringComparison.Ordinal).Split(' ');
        (int code, string output) = Run([.. line, "--duration", "00:00:02", "--output", trace]);
        Assert.True(code == 0, output);
        TraceStages stages = TraceStages.Read(trace);
        Assert.True(stages.Events > 100, $"{stages.Events} events; {output}");
        Assert.True(TraceActivity.Read(trace).Reports.Count > 0, "no report");
    }

    [Fact]
    public void Our_recording_opens_in_the_tools_report_and_as_Speedscope()
    {
        RequireTool();
        string trace = Path.Combine(folder.FullName, "ours.nettrace");
        (int code, string output) = PerfProcess.Run(folder.FullName, "trace", "--seconds", "1", "--output", trace);
        Assert.True(code == 0, output);

        (code, output) = Run("dotnet-trace", "report", trace, "topN", "-n", "50");
        Assert.True(code == 0, output);
        Assert.Contains("TraceChildCommand.Burst", output, StringComparison.Ordinal);

        (code, output) = Run("dotnet-trace", "convert", trace, "--format", "Speedscope");
        Assert.True(code == 0, output);
        string converted = Assert.Single(Directory.EnumerateFiles(folder.FullName, "*.speedscope.json"));
        using JsonDocument scope = JsonDocument.Parse(File.ReadAllText(converted));
        Assert.True(scope.RootElement.GetProperty("profiles").GetArrayLength() > 1);
        Assert.Contains(
            scope.RootElement.GetProperty("shared").GetProperty("frames").EnumerateArray(),
            f => f.GetProperty("name").GetString()!.Contains("TraceChildCommand.Burst", StringComparison.Ordinal));
    }

    private static void RequireTool()
    {
        (int code, string output) = Start("tool", "restore");
        string last = output.TrimEnd().Split('\n').Last();
        Assert.SkipWhen(code != 0, $"dotnet-trace (.config/dotnet-tools.json) cannot be had: {last}");
    }

    private static (int Code, string Output) Run(params string[] line) => Start(["tool", "run", line[0], "--", .. line[1..]]);

    private static (int Code, string Output) Start(params string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", arguments)
        {
            WorkingDirectory = Repository.Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult());
    }
}
