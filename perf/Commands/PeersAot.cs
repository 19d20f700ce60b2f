using System;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading.Tasks;

namespace LowLevel.Perf;

/// <summary>Publishes the contestant that is compiled ahead of time, where the sources, the SDK and a linker are there.</summary>
internal static class PeersAot
{
    private const string ProjectName = "LowLevel.Perf.Aot";

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>The program; or why there is none.</summary>
    public static (string? Program, string? Absence) Publish()
    {
        if (FindRoot(AppContext.BaseDirectory) is not string root)
        {
            return (null, "absent: its sources are not above this program");
        }

        string folder = Path.Combine(root, "artifacts", "aot");
        string architecture = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "arm64" : "x64";
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        string[] arguments =
        [
            "publish", Path.Combine(root, "perf", "Aot", ProjectName + ".csproj"), "-c", "Release", "-r", $"linux-{architecture}", "-o", folder,
            "-p:PublishContestant=true", "-p:UseSharedCompilation=false", "-nodeReuse:false", "--nologo", "-v", "q",
        ];
        Array.ForEach(arguments, start.ArgumentList.Add);
        try
        {
            (int code, string output) = Run(start);
            return code == 0 ? (Path.Combine(folder, ProjectName), null) : (null, Reason(code, output));
        }
        catch (Win32Exception)
        {
            return (null, "absent: there is no dotnet on the PATH");
        }
    }

    /// <summary>"absent:" and the first error, without the file and the project that the build names around it.</summary>
    public static string Reason(int code, string output)
    {
        string? line = output.Split('\n').FirstOrDefault(l => l.Contains("error", StringComparison.OrdinalIgnoreCase));
        if (line is null)
        {
            return $"absent: dotnet publish ended with code {code}";
        }

        int from = line.IndexOf("error", StringComparison.OrdinalIgnoreCase);
        int to = line.LastIndexOf(" [", StringComparison.Ordinal);
        return "absent: " + line[from..(to > from ? to : line.Length)].Trim();
    }

    private static (int Code, string Output) Run(ProcessStartInfo start)
    {
        using Process process = Process.Start(start) ?? throw new MeasurementException("dotnet publish did not start");
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
        }

        return (process.ExitCode, output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult());
    }

    private static string? FindRoot(string from)
    {
        for (DirectoryInfo? folder = new(from); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LowLevel.sln")))
            {
                return folder.FullName;
            }
        }

        return null;
    }
}
