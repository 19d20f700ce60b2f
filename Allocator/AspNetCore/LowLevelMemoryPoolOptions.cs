using System;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>Options of the arena that Kestrel's buffers come from. Read once, when the server starts; plain numbers, so that a
/// configuration section can be bound to them.</summary>
public sealed class LowLevelMemoryPoolOptions
{
    /// <summary>Address space to reserve, bytes, 4 MiB to 16 TiB. Null: the arena's choice (<see cref="PageArenaOptions.SizeBytes"/>). Reserved,
    /// not resident: it costs nothing until used.</summary>
    public long? SizeBytes { get; set; }

    /// <summary>The bound on bytes in use at one time, at least 4 MiB and at most <see cref="SizeBytes"/>. Null: the arena's choice
    /// (<see cref="PageArenaOptions.CapBytes"/>). What happens at the bound says <see cref="FallBackToManaged"/>.</summary>
    public long? CapBytes { get; set; }

    /// <summary>The least time from the return of a buffer until its memory goes back to the system, 0 to one day. Default 1 s.</summary>
    public TimeSpan Delay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Huge-page advice. Default <see cref="HugePages.Advise"/>.</summary>
    public HugePages HugePages { get; set; }

    /// <summary>The least buffer that a pool hands out, bytes, a power of two from 4 KiB to 1 MiB. Default 16 KiB: Kestrel asks for 4 KiB and
    /// uses what it gets, so that one receive call takes in, and one send call sends, four times as much.</summary>
    public int BlockBytes { get; set; } = 16384;

    /// <summary>Where the arena has no memory left. True, the default: buffers come from <see cref="System.Buffers.MemoryPool{T}.Shared"/> until
    /// the arena has some again, and a warning is logged once. False: the <see cref="OutOfMemoryException"/> reaches the request that
    /// wanted the memory, whose connection ends; the server lives on.</summary>
    public bool FallBackToManaged { get; set; } = true;
}
