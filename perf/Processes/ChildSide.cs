using System;
using System.Globalization;
using System.IO;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>The child's end of <see cref="ChildProcess"/>: first of all it moves into a memory cgroup of its own where the
/// machine lets it, and at the end it moves back and removes that group. When the parent is gone, the child ends too.</summary>
internal sealed class ChildSide : IDisposable
{
    private readonly MemoryCgroup? home;
    private readonly MemoryCgroup? own;

    public ChildSide()
    {
        // Control-C reaches parent and child alike; the child ends, in order, because its parent has.
        Console.CancelKeyPress += (_, e) => e.Cancel = true;
        home = MemoryCgroup.OfThisProcess();
        own = home?.TryCreate(string.Create(CultureInfo.InvariantCulture, $"lowlevel-perf-{Environment.ProcessId}"));
        if (own is not null && !own.TryEnter())
        {
            own.TryRemove();
            own = null;
        }

        if (own is not null)
        {
            Say("group", "own", own.Version, own.Folder);
        }
        else
        {
            Say("group", home?.ChargeBytes is null ? "none" : "shared");
        }
    }

    /// <summary>Tells the parent.</summary>
    public static void Say(params object[] words) =>
        Console.Out.WriteLine(string.Join('\t', Array.ConvertAll(words, w => Convert.ToString(w, CultureInfo.InvariantCulture))));

    /// <summary>Waits for the parent's word.</summary>
    public static void Await(string word)
    {
        string? line = Console.In.ReadLine();
        if (line != word)
        {
            throw new MeasurementException($"waited for the word '{word}' and heard '{line ?? "nothing, the parent is gone"}'");
        }
    }

    public void Dispose()
    {
        if (own is not null && home is not null && home.TryEnter())
        {
            own.TryRemove();
        }
    }
}
