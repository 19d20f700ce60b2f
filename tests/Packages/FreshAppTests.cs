using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Net.Http;
using System.Text.RegularExpressions;
using System.Threading;
using System.Threading.Tasks;
using Xunit;

namespace LowLevel.Tests.Packages;

/// <summary>What somebody does who has nothing but the packages: the samples in folders outside of the repository.</summary>
[Collection(nameof(PackageFixture))]
public sealed class FreshAppTests(PackageFixture packed)
{
    private const string Console = "LowLevel.Samples.Console";
    private const string Web = "LowLevel.Samples.Web";

    [Fact]
    public void A_fresh_console_app_gives_its_memory_back()
    {
        string app = packed.Fresh("Console", "console");
        BuildFromPackages(app);
        Assert.True(File.Exists(Path.Combine(app, "bin", "Release", "net10.0", "LowLevel.Native.dll")));
        AssertGivesBack(Dotnet.Run(app, Dotnet.Host, Path.Combine("bin", "Release", "net10.0", Console + ".dll")));
    }

    /// <summary>The README's line, in a program that knows nothing of us yet; only the version is named, because the test's is a preview.</summary>
    [Fact]
    public void The_line_that_adds_the_package_is_all_that_a_program_needs()
    {
        string app = packed.Fresh("Console", "added");
        File.Delete(Path.Combine(app, "Directory.Packages.props"));
        File.WriteAllText(
            Path.Combine(app, Console + ".csproj"),
            "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType><TargetFramework>net10.0</TargetFramework>" +
            "<AllowUnsafeBlocks>true</AllowUnsafeBlocks></PropertyGroup></Project>");
        (int code, string output) = Dotnet.Run(
            app, Dotnet.Host, "add", "package", "LowLevel.Allocator", "--source", packed.Packages, "--version", packed.Version);
        Assert.True(code == 0, output);
        Dotnet.MustBuild(app, "build", "-c", "Release", "--source", packed.Packages);
        AssertGivesBack(Dotnet.Run(app, Dotnet.Host, Path.Combine("bin", "Release", "net10.0", Console + ".dll")));
    }

    /// <summary>A warning of the trimmer or the compiler about any of our libraries is an error.</summary>
    [Fact]
    public void A_fresh_console_app_is_compiled_ahead_of_time_without_a_warning_and_gives_its_memory_back()
    {
        // What the SDK looks for as its linker.
        Assert.SkipUnless(Dotnet.IsOnPath(["clang", "gcc"]), "no linker for NativeAOT: neither clang nor gcc is on the PATH");
        string app = packed.Fresh("Console", "ahead");
        string output = Dotnet.MustBuild(
            app, "publish", "-c", "Release", "-r", Dotnet.Rid, "-o", Path.Combine(app, "out"), "-p:PublishAot=true", "-p:UseLowLevelPackages=true",
            "-p:TreatWarningsAsErrors=true", "-p:TrimmerSingleWarn=false", "-p:NuGetAudit=false");
        Assert.DoesNotContain("warning", output, StringComparison.OrdinalIgnoreCase);
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(app, "out"), "*.dll"));
        AssertGivesBack(Dotnet.Run(app, Path.Combine(app, "out", Console)));
    }

    [Fact]
    public async Task A_fresh_web_app_answers_from_memory_of_the_arena_and_ends_when_told()
    {
        string app = packed.Fresh("Web", "web");
        BuildFromPackages(app);
        using Process server = Dotnet.Start(
            app, Dotnet.Host, Path.Combine("bin", "Release", "net10.0", Web + ".dll"), "--urls", "http://127.0.0.1:0");
        Task<string> errors = server.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        try
        {
            Uri address = await Listening(server);
            Task<string> rest = server.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            using var client = new HttpClient { BaseAddress = address };
            Assert.Equal("Hello", await client.GetStringAsync(new Uri("/", UriKind.Relative), TestContext.Current.CancellationToken));
            string used = await client.GetStringAsync(new Uri("/used", UriKind.Relative), TestContext.Current.CancellationToken);
            Assert.True(long.Parse(used, CultureInfo.InvariantCulture) > 0, $"{used} bytes of the arena were used for a request");

            Dotnet.Run(app, "kill", "-TERM", server.Id.ToString(CultureInfo.InvariantCulture));
            await server.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.True(server.ExitCode == 0, $"code {server.ExitCode}:\n{await rest}{await errors}");
        }
        finally
        {
            if (!server.HasExited)
            {
                server.Kill(entireProcessTree: true);
            }
        }
    }

    /// <summary>From the packages' folder alone, so with no network: neither app needs more than the SDK brings.</summary>
    private void BuildFromPackages(string app)
    {
        string output = Dotnet.MustBuild(
            app, "build", "-c", "Release", "--source", packed.Packages, "-p:UseLowLevelPackages=true", "-p:TreatWarningsAsErrors=true");
        Assert.Contains("0 Warning(s)", output, StringComparison.Ordinal);
    }

    private static void AssertGivesBack((int Code, string Output) run)
    {
        Assert.True(run.Code == 0, $"code {run.Code}:\n{run.Output}");
        int burst = int.Parse(Regex.Match(run.Output, @"resident, burst +(\d+) MiB").Groups[1].Value, CultureInfo.InvariantCulture);
        int rested = int.Parse(Regex.Match(run.Output, @"resident, rested +(\d+) MiB").Groups[1].Value, CultureInfo.InvariantCulture);
        Assert.True(burst >= 256 && rested < burst - 200, run.Output);
    }

    /// <summary>The address that the server says it listens on; the system chose the port.</summary>
    private static async Task<Uri> Listening(Process server)
    {
        while (await server.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is string line)
        {
            Match match = Regex.Match(line, @"Now listening on: (http://127\.0\.0\.1:\d+)");
            if (match.Success)
            {
                return new Uri(match.Groups[1].Value);
            }
        }

        throw new InvalidOperationException($"the server ended with code {server.ExitCode} before it listened");
    }
}
