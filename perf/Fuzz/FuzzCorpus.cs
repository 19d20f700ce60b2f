using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Inputs of one target that showed something new, as a text file: one a line, in hexadecimal.</summary>
internal static class FuzzCorpus
{
    private const string Suffix = ".hex";

    /// <summary>Inputs of one file: it is played by each test run and lies in the repository.</summary>
    private const int KeptMax = 200;

    /// <summary>The file of a target.</summary>
    public static string PathOf(string folder, string target) => Path.Combine(folder, target + Suffix);

    /// <summary>The inputs of a file; none where there is no file.</summary>
    /// <exception cref="UsageException">A line is no hexadecimal number.</exception>
    public static List<byte[]> Load(string path)
    {
        List<byte[]> inputs = [];
        if (!File.Exists(path))
        {
            return inputs;
        }

        foreach (string line in File.ReadLines(path).Where(static line => line.Length > 0 && line[0] != '#'))
        {
            try
            {
                inputs.Add(Convert.FromHexString(line.Trim()));
            }
            catch (FormatException e)
            {
                throw new UsageException($"'{path}', line '{line}': no input; allowed: an even number of hexadecimal digits", e);
            }
        }

        return inputs;
    }

    /// <summary>Writes what is worth keeping, the shortest first.</summary>
    public static void Save(string path, IEnumerable<byte[]> inputs) =>
        OutputFiles.Write(path, string.Concat(inputs.Select(static input => Convert.ToHexString(input).ToLowerInvariant() + "\n")));

    /// <summary>As few of the inputs as show all that they all show; where that is still many, those that show most.</summary>
    public static List<byte[]> Minimise(IFuzzTarget target, FuzzMap map, IEnumerable<byte[]> inputs)
    {
        List<byte[]> kept = [];
        map.Forget();
        foreach (byte[] input in inputs.OrderBy(static one => one.Length).ThenBy(Convert.ToHexString, StringComparer.Ordinal))
        {
            if (Shows(target, map, input))
            {
                kept.Add(input);
            }
        }

        // The longest of them show most; what they show need not be kept twice.
        map.Forget();
        kept.Reverse();
        return [.. kept.Where(input => Shows(target, map, input)).Take(KeptMax).Reverse()];
    }

    private static bool Shows(IFuzzTarget target, FuzzMap map, byte[] input)
    {
        target.Renew();
        map.Begin();
        try
        {
            target.Run(input, map);
        }
        catch (Exception e)
        {
            throw new FuzzFinding($"in a life of its own: {e.Message}: {Convert.ToHexString(input)}", e);
        }

        return map.End();
    }
}
