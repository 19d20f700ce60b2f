using System;
using System.IO;

namespace Schedules;

/// <summary>What all of the seam's types call.</summary>
internal static class Seam
{
    /// <summary>A point where another strand may go on, before the operation named. The calling strand; null where the caller is none, or the
    /// schedule is being taken down, so that the operation is to be done plainly.</summary>
    public static Strand? Point(string what, string member, string file)
    {
        Strand? strand = Strand.Current;
        if (strand is null || strand.Scheduler.IsEnding)
        {
            return null;
        }

        strand.Scheduler.Trace?.Add($"{strand.Name,-10} {what} in {Path.GetFileNameWithoutExtension(file)}.{member}");
        strand.Scheduler.Pass(strand);
        return strand;
    }

    /// <summary>A point behind an operation: what follows may be plain work on memory that others see. Random schedules only.</summary>
    public static void PointAfter(Strand? strand)
    {
        if (strand is { Scheduler: { PointsAfter: true, IsEnding: false } scheduler })
        {
            scheduler.Pass(strand);
        }
    }

    /// <summary>A point of a case's own, where its code works on memory without an atomic operation.</summary>
    public static void Point(string what) => Point(what, string.Empty, string.Empty);

    /// <summary>What a case holds to be true.</summary>
    public static void Require(bool holds, string what)
    {
        if (!holds && Strand.Current is not { Scheduler.IsEnding: true })
        {
            Strand.Current?.Scheduler.Find(what); // whoever catches the exception on its way
            throw new FindingException(what);
        }
    }
}

/// <summary>A case's condition does not hold.</summary>
internal sealed class FindingException(string message) : Exception(message);

/// <summary>The schedule is over; a strand that waits in it is taken down.</summary>
internal sealed class StrandEndedException : Exception;
