using System;
using System.IO;

namespace LowLevel.Tests.Native;

/// <summary>The checkout that the tests were built from.</summary>
internal static class Repository
{
    /// <summary>The first folder above the test program that has the solution.</summary>
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LowLevel.sln")))
            {
                return folder.FullName;
            }
        }
        throw new DirectoryNotFoundException($"no LowLevel.sln in {AppContext.BaseDirectory} or above it: the tests run from a checkout");
    }
}
