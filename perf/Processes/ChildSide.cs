using System;
using System.Globalization;
using System.IO;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>The child's end of <see cref="ChildProcess"/>: first of all it moves into a memory cgroup of its own where the
/// machine lets it, and at the end it moves back and removes that group. When the parent is gone, the child ends too.</summary>
internal sealed class ChildSide : IDisposable
{
    private readonly MemoryCgroup? _home;
    private readonly MemoryCgroup? _own;

    public ChildSide()
    {
        // Control-C reaches parent and child alike; the child ends, in order, because its parent has.
        Console.CancelKeyPress += (_, e) => e.Cancel = true;
        _home = MemoryCgroup.OfThisProcess();
        _own = _home?.TryCreate(string.Create(CultureInfo.InvariantCulture, $"lowlevel-perf-{Environment.ProcessId}"));
        if (_own is not null && !_own.TryEnter())
        {
            _own.TryRemove();
            _own = null;
        }

        if (_own is not null)
        {
            Say("group", "own", _own.Version, _own.Folder);
        }
        else
        {
            Say("group", _home?.ChargeBytes is null ? "none" : "shared");
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
        if (_own is not null && _home is not null && _home.TryEnter())
        {
            _own.TryRemove();
        }
    }
}
