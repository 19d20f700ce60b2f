using System;

namespace LowLevel.Allocator;

/// <summary>What a test replaces in an arena's treatment.</summary>
/// <param name="Balloon">Makes the balloon and its device.</param>
/// <param name="HasWorker">Whether timed passes run on a thread; without, the test calls <see cref="Aerator.Pass"/> itself.</param>
/// <param name="WatchesMemory">Whether passes look at the cgroup's limit and the pressure; a test that counts epochs wants no machine's.</param>
internal sealed record TreatmentSeams(Func<PageArena, PageArenaOptions, IBalloonLink> Balloon, bool HasWorker, bool WatchesMemory = false)
{
    /// <summary>The balloon in process, or of the host that the options name, a worker thread, and an eye on memory.</summary>
    public static TreatmentSeams Default { get; } = new(
        static (arena, options) => options.Host is null ? BalloonLink.Create(arena, options) : HostLink.Create(arena, options),
        HasWorker: true, WatchesMemory: true);
}
