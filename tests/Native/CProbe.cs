using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>What the user-space kernel headers of this system say, asked once with the system's C compiler. Where there is none, or a
/// header lacks something, each comparison that needs it is skipped with the reason; a probe that a working compiler refuses
/// is a failure.</summary>
internal sealed class CProbe
{
    private const string Trivial = "#include <stddef.h>\n#include <stdio.h>\nint main(void) { return 0; }\n";
    private static readonly string[] s_compilers = ["gcc", "cc", "clang"];
    private static readonly Lazy<CProbe> s_system = new(() => Run(
        File.ReadAllText(Path.Combine(Repository.Root, "tests", "Native", "Generated", "probe.c")),
        Environment.GetEnvironmentVariable("PATH") ?? ""));

    private readonly Dictionary<string, string[]> _lines;

    private CProbe(string? whyNot, Dictionary<string, string[]> lines)
    {
        WhyNot = whyNot;
        _lines = lines;
    }

    /// <summary>Why nothing could be asked; null where the probe ran.</summary>
    public string? WhyNot { get; }

    /// <summary>Compares a C expression with its C# value, or skips by name.</summary>
    public static void AssertSame(string expression, ulong value)
    {
        (ulong? inC, string reason) = s_system.Value.Find(expression);
        if (inC is null)
        {
            Assert.Skip($"{expression} is not compared: {reason}");
        }
        Assert.True(inC == value, $"{expression} is {inC} in C, {value} here");
    }

    /// <summary>The value of an expression; null and the reason where this system has none.</summary>
    public (ulong? Value, string Reason) Find(string expression)
    {
        if (WhyNot is not null)
        {
            return (null, WhyNot);
        }
        if (!_lines.TryGetValue(expression, out string[]? cells))
        {
            throw new InvalidOperationException($"the probe does not print {expression}");
        }
        return cells[1] == "absent" ? (null, cells[2]) : (ulong.Parse(cells[1], CultureInfo.InvariantCulture), "");
    }

    /// <summary>Compiles and runs a C program with the first working compiler on a path, and reads its lines.</summary>
    public static CProbe Run(string source, string path)
    {
        string? compiler = path.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .SelectMany(folder => s_compilers.Select(name => Path.Combine(folder, name)))
            .FirstOrDefault(File.Exists);
        if (compiler is null)
        {
            return new CProbe($"no C compiler on PATH ({string.Join(", ", s_compilers)})", []);
        }
        DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-probe-");
        try
        {
            // A compiler without the C library's headers is no compiler for this purpose.
            return TryCompile(compiler, Trivial, folder.FullName, out _, out string problem)
                ? Ask(compiler, source, folder.FullName)
                : new CProbe($"{compiler} does not compile even an empty program: {problem.Split('\n')[0]}", []);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static CProbe Ask(string compiler, string source, string folder)
    {
        if (!TryCompile(compiler, source, folder, out string program, out string problem))
        {
            throw new InvalidOperationException($"{compiler} refuses the probe: {problem}");
        }
        (int exitCode, string output, _) = Start(program, []);
        Assert.Equal(0, exitCode);
        return new CProbe(null, output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split('\t')).ToDictionary(cells => cells[0], StringComparer.Ordinal));
    }

    private static bool TryCompile(string compiler, string source, string folder, out string program, out string problem)
    {
        string file = Path.Combine(folder, "probe.c");
        program = Path.Combine(folder, "probe");
        File.WriteAllText(file, source);
        (int exitCode, _, problem) = Start(compiler, ["-std=gnu11", "-o", program, file]);
        return exitCode == 0;
    }

    private static (int ExitCode, string Output, string Error) Start(string program, string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.GetAwaiter().GetResult());
    }
}
