using System;
using System.Collections.Generic;

namespace Schedules;

/// <summary>A few strands that meet at one piece of the product, and what must hold.</summary>
internal abstract class ScheduleCase
{
    public abstract string Name { get; }

    /// <summary>Writes that a strand's store buffer holds where weak memory is explored.</summary>
    public virtual int BufferDepth => 2;

    /// <summary>Preemptions of the exhaustive search.</summary>
    public virtual int Preemptions => 3;

    /// <summary>Breaks of the product that this case must find.</summary>
    public abstract IReadOnlyList<Mutation> Mutations { get; }

    /// <summary>Makes everything anew and adds the strands with <see cref="Go"/>.</summary>
    public abstract void SetUp();

    /// <summary>What holds at the end.</summary>
    public virtual void Check()
    {
    }

    /// <summary>Lets go of what is not managed.</summary>
    public virtual void TearDown()
    {
    }

    /// <summary>A strand of this schedule.</summary>
    protected static LowLevel.Thread Go(string name, Action body)
    {
        Strand strand = Scheduler.Building!.Add(name, body);
        Scheduler.Building.Start(strand);
        return strand.Thread;
    }

    protected static void Require(bool holds, string what) => Seam.Require(holds, what);

    protected static Mutation Skip(string file, string member) => new(MutationKind.SkipFence, file, member);

    protected static Mutation Split(string file, string member) => new(MutationKind.SplitAtomic, file, member);

    protected static Mutation LosePulse(string file, string member) => new(MutationKind.LosePulse, file, member);

    protected static Mutation LoseWrite(string file, string member) => new(MutationKind.LoseWrite, file, member);

    protected static Mutation Own(string what) => new(MutationKind.OfCase, string.Empty, what);
}
