using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The contestants' processes, from their start to their end, and what they measured. A contestant that cannot take part,
/// or whose process ends, is absent with its reason; ours must take part.</summary>
/// <param name="ofHeap">Whether the sizes are those of <c>perf heap</c>.</param>
internal sealed class PeersRun(bool ofHeap = false) : IDisposable
{
    private readonly Dictionary<string, ChildProcess> _children = [];
    private readonly Dictionary<string, string> _absent = [];
    private readonly Dictionary<string, string> _shown = [];
    private readonly Dictionary<(PeerCell Cell, string Contestant), List<double>> _measured = [];

    /// <summary>Why, by contestant.</summary>
    public IReadOnlyDictionary<string, string> Absent => _absent;

    /// <summary>Starts a contestant and waits until its code is compiled; one after the other, so that none is in another's way.</summary>
    public void Start(string name, TextWriter output)
    {
        try
        {
            if (Launch(name) is string absence)
            {
                Drop(name, absence);
            }
        }
        catch (MeasurementException e) when (!PeersContestants.MustTakePart(name))
        {
            Drop(name, $"absent: {e.Message}");
        }

        output.WriteLine($"{name,-14}{PeersContestants.Call(name)}: {_absent.GetValueOrDefault(name) ?? Shown(name)}");
    }

    /// <summary>Every cell once with everybody who is there.</summary>
    public void Round(PeersPlan plan, int round)
    {
        for (int row = 0; row < plan.Cells.Count; row++)
        {
            foreach (string name in PeersPlan.InTurn([.. _children.Keys.Order(StringComparer.Ordinal)], round, row))
            {
                Measure(plan.Cells[row], name);
            }
        }
    }

    /// <summary>The row: a summary for each contestant that measured it in every round.</summary>
    public PeersRow Row(PeerCell cell) => new(
        cell,
        PeersContestants.Names.Prepend(PeersContestants.OursHeap).Where(n => !_absent.ContainsKey(n) && _measured.ContainsKey((cell, n)))
            .ToDictionary(n => n, n => Statistics.Summarise(_measured[(cell, n)])));

    /// <summary>Lets the contestants end, each after it has checked itself.</summary>
    public void Dispose()
    {
        foreach (ChildProcess child in _children.Values)
        {
            child.Dispose();
        }
    }

    private string? Launch(string name)
    {
        if (name == PeersContestants.OursAheadOfTime)
        {
            (string? program, string? absence) = PeersAot.Publish();
            if (program is null)
            {
                return absence;
            }

            _children[name] = ChildProcess.StartProgram(name, program);
            _children[name].WaitFor("warm");
            return null;
        }

        string? library = PeerLibrary.Find(name);
        if (library is null && PeerLibrary.SonamesOf(name) is { Length: > 0 } sonames)
        {
            return $"absent: {string.Join(" or ", sonames)} is not installed";
        }

        _children[name] = ChildProcess.Start(
            name, ["peers-child", "--contestant", name, .. ofHeap ? new[] { "--of-heap" } : []], new Dictionary<string, string> { ["LD_PRELOAD"] = library ?? "" });
        string[] loaded = _children[name].WaitFor("library").Words[1..];
        if (PeersContestants.Misfit(name, loaded) is string misfit)
        {
            return misfit;
        }

        _shown[name] = string.Join(", ", loaded);
        _children[name].WaitFor("warm");
        return null;
    }

    private string Shown(string name) => _shown.TryGetValue(name, out string? libraries) ? $"/proc/self/maps shows {libraries}" : "published to artifacts/aot";

    private void Measure(PeerCell cell, string name)
    {
        try
        {
            _children[name].Send(cell.ToLine());
            double nanoseconds = _children[name].WaitFor("done").Number(1);
            if (!_measured.TryGetValue((cell, name), out List<double>? values))
            {
                _measured[(cell, name)] = values = [];
            }

            values.Add(nanoseconds);
        }
        catch (MeasurementException e) when (!PeersContestants.MustTakePart(name))
        {
            Drop(name, $"absent: {e.Message} at {cell.ToLine().Replace('\t', ' ')}");
        }
    }

    private void Drop(string name, string absence)
    {
        _absent[name] = absence;
        if (_children.Remove(name, out ChildProcess? child))
        {
            child.Dispose();
        }
    }
}
