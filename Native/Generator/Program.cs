using System;
using System.Collections.Generic;
using System.IO;

namespace LowLevel.Generator;

/// <summary>Writes what the layout texts say, or, with --check, compares. A plain program: no part of any build.</summary>
internal static class Program
{
    private const string Usage = "allowed: [--check] [--root DIR]";

    private static int Main(string[] args) => Run(args, Directory.GetCurrentDirectory(), Console.Out, Console.Error);

    /// <summary>Exit code 0: all files are as they should be. 1: a layout is wrong, a file differs, or an argument is wrong.</summary>
    public static int Run(IReadOnlyList<string> args, string currentDirectory, TextWriter output, TextWriter error)
    {
        if (!TryReadArguments(args, out bool isCheck, out string? root, out string problem))
        {
            error.WriteLine($"{problem}; {Usage}");
            return 1;
        }
        if (root is not null && !LayoutFiles.HasLayouts(root))
        {
            error.WriteLine($"--root {root}: there is no Native/Layouts in it; allowed: the root of the repository");
            return 1;
        }
        root ??= LayoutFiles.FindRoot(currentDirectory);
        if (root is null)
        {
            error.WriteLine($"no Native/Layouts in {currentDirectory} or above it; allowed: a folder of the repository, or --root DIR");
            return 1;
        }
        try
        {
            return Run(new LayoutFiles(root), isCheck, output, error);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            error.WriteLine(failure.Message);
            return 1;
        }
    }

    private static int Run(LayoutFiles layouts, bool isCheck, TextWriter output, TextWriter error)
    {
        List<LayoutError> errors = [];
        if (LayoutModel.Read(layouts.ReadLayouts(), errors) is not { } model)
        {
            foreach (LayoutError problem in errors)
            {
                error.WriteLine(problem);
            }
            return 1;
        }
        SortedDictionary<string, string> files = LayoutFiles.Generate(model);
        if (!isCheck)
        {
            output.WriteLine($"{files.Count} files from {model.Layouts.Count} layouts, {layouts.Write(files)} changed");
            return 0;
        }
        if (layouts.FindDifference(files) is { } difference)
        {
            error.WriteLine($"{difference}; run: {LayoutFiles.Command}");
            return 1;
        }
        output.WriteLine($"{files.Count} files from {model.Layouts.Count} layouts, all up to date");
        return 0;
    }

    private static bool TryReadArguments(IReadOnlyList<string> args, out bool isCheck, out string? root, out string problem)
    {
        isCheck = false;
        root = null;
        problem = "";
        for (int i = 0; i < args.Count; i++)
        {
            switch (args[i])
            {
                case "--check":
                    isCheck = true;
                    break;
                case "--root" when i + 1 < args.Count:
                    root = args[++i];
                    break;
                case "--root":
                    problem = "--root without a folder";
                    return false;
                default:
                    problem = $"{args[i]} is not known";
                    return false;
            }
        }
        return true;
    }
}
