using System;
using System.Diagnostics;
using System.IO;
using System.Threading.Tasks;

namespace LowLevel.Tests.Perf;

/// <summary>The measuring program as a user starts it: a process of its own, in a folder of the test's.</summary>
internal static class PerfProcess
{
    /// <summary>Runs it to its end; exit code, and what it wrote (the output, then the errors).</summary>
    public static (int Code, string Output) Run(string folder, params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "LowLevel.Perf"))
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        Array.ForEach(arguments, start.ArgumentList.Add);
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult());
    }
}
