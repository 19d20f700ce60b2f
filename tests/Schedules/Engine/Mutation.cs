using System;
using System.IO;

namespace Schedules;

/// <summary>How the seam breaks the product's code.</summary>
internal enum MutationKind
{
    /// <summary>A fence does nothing.</summary>
    SkipFence,

    /// <summary>An interlocked operation lets others in between its read and its write.</summary>
    SplitAtomic,

    /// <summary>A pulse wakes nobody.</summary>
    LosePulse,

    /// <summary>A volatile write is left out.</summary>
    LoseWrite,

    /// <summary>The case itself leaves something out: see its code.</summary>
    OfCase,
}

/// <summary>One break, at the calls of one method. A case that does not find its mutations proves nothing.</summary>
internal sealed record Mutation(MutationKind Kind, string File, string Member)
{
    /// <summary>In force; null for the product as it is.</summary>
    public static Mutation? InForce { get; set; }

    public static bool Hits(MutationKind kind, string member, string file) =>
        InForce is Mutation m && m.Kind == kind && m.Member == member && Path.GetFileNameWithoutExtension(file) == m.File;

    /// <summary>Whether a case is to leave out what this name stands for.</summary>
    public static bool Omits(string name) => InForce is { Kind: MutationKind.OfCase } m && m.Member == name;

    public override string ToString() => Kind == MutationKind.OfCase ? Member : $"{Kind} {File}.{Member}";
}
