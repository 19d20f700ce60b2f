using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Schedules;

namespace System.Threading;

/// <summary>Takes the place of the framework's type of this name, in this program only: the lock statement of the product's code calls it.
/// What the objects are for is kept by the scheduler.</summary>
internal static class Monitor
{
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);

    public static void Enter(object guard, ref bool taken)
    {
        Enter(guard);
        taken = true;
    }

    public static void Enter(object guard)
    {
        if (Seam.Point("lock", string.Empty, string.Empty) is Strand strand)
        {
            strand.FlushAll();
            strand.Scheduler.GuardOf(guard).Enter(strand);
        }
    }

    public static bool TryEnter(object guard, TimeSpan timeout)
    {
        if (Seam.Point("try lock", string.Empty, string.Empty) is not Strand strand)
        {
            return true;
        }

        strand.FlushAll();
        return strand.Scheduler.GuardOf(guard).TryEnter(strand, timeout, IsLong(timeout));
    }

    public static void Exit(object guard)
    {
        if (Seam.Point("unlock", string.Empty, string.Empty) is Strand strand)
        {
            strand.FlushAll();
            strand.Scheduler.GuardOf(guard).Exit(strand);
            strand.Wrote();
        }
    }

    public static bool IsEntered(object guard) => Strand.Current is Strand strand && strand.Scheduler.GuardOf(guard).IsHeldBy(strand);

    public static bool Wait(object guard) => Wait(guard, Timeout.InfiniteTimeSpan);

    public static bool Wait(object guard, int milliseconds) =>
        Wait(guard, milliseconds == Timeout.Infinite ? Timeout.InfiniteTimeSpan : TimeSpan.FromMilliseconds(milliseconds));

    public static bool Wait(object guard, TimeSpan timeout)
    {
        if (Seam.Point("wait", string.Empty, string.Empty) is not Strand strand)
        {
            throw new StrandEndedException();
        }

        strand.FlushAll();
        return strand.Scheduler.GuardOf(guard).Wait(strand, timed: !IsLong(timeout));
    }

    public static void Pulse(object guard, [CallerMemberName] string member = "", [CallerFilePath] string file = "") => Pulse(guard, 1, member, file);

    public static void PulseAll(object guard, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Pulse(guard, int.MaxValue, member, file);

    private static void Pulse(object guard, int most, string member, string file)
    {
        if (Seam.Point("pulse", member, file) is Strand strand && !Mutation.Hits(MutationKind.LosePulse, member, file))
        {
            strand.Scheduler.GuardOf(guard).Pulse(most);
        }
    }

    private static bool IsLong(TimeSpan timeout) => timeout < TimeSpan.Zero || timeout >= Long;
}
