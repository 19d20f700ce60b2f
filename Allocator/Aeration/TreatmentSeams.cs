using System;

namespace LowLevel.Allocator;

/// <summary>What a test replaces in an arena's treatment.</summary>
/// <param name="Balloon">Makes the balloon and its device.</param>
/// <param name="HasWorker">Whether timed passes run on a thread; without, the test calls <see cref="Aerator.Pass"/> itself.</param>
internal sealed record TreatmentSeams(Func<PageArena, PageArenaOptions, IBalloonLink> Balloon, bool HasWorker)
{
    /// <summary>The in-process balloon and a worker thread.</summary>
    public static TreatmentSeams Default { get; } = new(BalloonLink.Create, HasWorker: true);
}
