using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading.Tasks;
using Xunit;

namespace LowLevel.Tests.Packages;

/// <summary>Programs in processes of their own, the SDK first of all.</summary>
internal static class Dotnet
{
    /// <summary>A build that hangs is ended after this and fails the test by its exit code.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>No server and no worker process stays behind a build, and no more than one processor works for it.</summary>
    private static readonly string[] Alone = ["-nodeReuse:false", "-maxcpucount:1", "-p:UseSharedCompilation=false", "--nologo"];

    public static string Host => Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";

    public static string Rid => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "linux-arm64" : "linux-x64";

    /// <summary>A verb of the SDK that builds; exit code and all output.</summary>
    public static (int Code, string Output) Build(string folder, params string[] arguments) => Run(folder, Host, [.. arguments, .. Alone]);

    /// <summary>The same, where it has to succeed.</summary>
    public static string MustBuild(string folder, params string[] arguments)
    {
        (int code, string output) = Build(folder, arguments);
        Assert.True(code == 0, $"dotnet {string.Join(' ', arguments)} ended with code {code}:\n{output}");
        return output;
    }

    public static (int Code, string Output) Run(string folder, string program, params string[] arguments)
    {
        using Process process = Start(folder, program, arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
        }

        return (process.ExitCode, output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult());
    }

    public static Process Start(string folder, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // What the SDK that runs these tests tells its own children: a build of another tree must not take it for its own.
        foreach (string inherited in start.Environment.Keys.Where(k => k.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(inherited);
        }

        start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0";
        start.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1";
        start.Environment["DOTNET_NOLOGO"] = "1";
        return Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
    }

    /// <summary>Whether one of these programs can be found.</summary>
    public static bool IsOnPath(IEnumerable<string> programs) => programs.Any(p => Find(p) is not null);

    /// <summary>Where a program is; null: not on the PATH.</summary>
    public static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
}
