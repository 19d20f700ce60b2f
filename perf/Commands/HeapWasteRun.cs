using System.Collections.Generic;
using System.Globalization;

namespace LowLevel.Perf;

/// <summary>What one contestant made of one mix. Bytes.</summary>
/// <param name="Contestant">Its name.</param>
/// <param name="Mix">See <see cref="HeapMix"/>.</param>
/// <param name="Requested">Asked for and held.</param>
/// <param name="Resident">Growth of the process's resident set since before the first allocation, bookkeeping included.</param>
/// <param name="Absence">Why there are no figures; null where there are.</param>
internal readonly record struct HeapWasteRow(string Contestant, string Mix, long Requested, long Resident, string? Absence)
{
    /// <summary>Resident over requested.</summary>
    public double Ratio => (double)Resident / Requested;
}

/// <summary>Runs the mixes with a contestant, each in a process of its own.</summary>
internal static class HeapWasteRun
{
    public static IEnumerable<HeapWasteRow> Measure(string name, int mebibytes)
    {
        string? library = PeerLibrary.Find(name);
        bool isMissing = library is null && PeerLibrary.SonamesOf(name) is { Length: > 0 };
        foreach (string mix in HeapMix.Names)
        {
            yield return isMissing ? new HeapWasteRow(name, mix, 0, 0, "absent: it is not installed") : Measure(name, mix, mebibytes, library);
        }
    }

    private static HeapWasteRow Measure(string name, string mix, int mebibytes, string? library)
    {
        using ChildProcess child = ChildProcess.Start(
            name,
            ["heap-waste-child", "--contestant", name, "--mix", mix, "--mebibytes", mebibytes.ToString(CultureInfo.InvariantCulture)],
            new Dictionary<string, string> { ["LD_PRELOAD"] = library ?? "" });
        string? misfit = PeersContestants.Misfit(name, child.WaitFor("library").Words[1..]);
        Message done = child.WaitFor("done");
        return misfit is null ? new HeapWasteRow(name, mix, done.Whole(1), done.Whole(2), null) : new HeapWasteRow(name, mix, 0, 0, misfit);
    }
}
