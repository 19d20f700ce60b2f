using System;
using System.Diagnostics.Metrics;

namespace LowLevel.Allocator;

/// <summary>Whether the arena's memory may be backed by 2 MiB huge pages.</summary>
public enum HugePages
{
    /// <summary>MADV_HUGEPAGE over the arena: the default. First touch of 2 MiB costs one fault.</summary>
    Advise,

    /// <summary>No advice: the system's setting in /sys/kernel/mm/transparent_hugepage/enabled decides.</summary>
    System,

    /// <summary>MADV_NOHUGEPAGE: 4 KiB pages only.</summary>
    Never,
}

/// <summary>What backs the arena.</summary>
public enum ArenaBacking
{
    /// <summary>Private anonymous memory: the default.</summary>
    Anonymous,

    /// <summary>A memfd, mapped shared; treatment punches holes.</summary>
    Memfd,
}

/// <summary>What becomes of an allocation that the arena cannot serve: the cap is reached, or no block or run is free, even after draining,
/// deflating and waiting for the reactor.</summary>
public enum CapPolicy
{
    /// <summary>OutOfMemoryException (false from <see cref="PageArena.TryAllocatePages"/>). The default.</summary>
    Throw,

    /// <summary>The thread blocks until memory comes back or <see cref="PageArenaOptions.CapTimeout"/> has passed, then as
    /// <see cref="Throw"/>. Who waits is served in the order of coming; a thread that finds memory free without waiting may be quicker. While
    /// anybody waits, threads keep no freed blocks for themselves. Never waits: an <see cref="AllocationFlags.Atomic"/> request.</summary>
    Wait,

    /// <summary>Memory from the operating system, outside the arena and its cap, a mapping of its own for each block: slow (microseconds and
    /// faults), aligned as the arena's, and unmapped by <see cref="PageArena.FreePages"/>. See <see cref="ArenaStatistics.FallBackBytes"/>.</summary>
    FallBack,
}

/// <summary>Who carries out treatment.</summary>
public enum AerationContext
{
    /// <summary>A background thread of the arena; the freeing thread never waits. The default.</summary>
    Worker,

    /// <summary>The thread whose free crosses the high-water mark, after it has dropped the zone lock; the device is serviced
    /// inline, as a VM exit is. What rests below the mark is still treated by the worker after <see cref="AerationOptions.Delay"/>.</summary>
    FreeingThread,
}

/// <summary>How the host drops a treated block.</summary>
public enum DiscardMode
{
    /// <summary>MADV_DONTNEED: resident memory falls at once. The default.</summary>
    DontNeed,

    /// <summary>MADV_FREE: the kernel takes the pages when it needs them; neither RSS nor the cgroup's charge falls until then.</summary>
    Free,
}

/// <summary>Which payload feature bit 5 carries on the reporting queue.</summary>
public enum ReportingDialect
{
    /// <summary>VIRTIO 1.2, 5.5.6.7: device-writable buffers that are the free pages. The default.</summary>
    Standard,

    /// <summary>The 2019 RFC: one device-readable buffer of {pfn, size} hints. In process only.</summary>
    Hints,
}

/// <summary>How much an arena reserves and how it goes about it. Read once by <see cref="PageArena.Create"/>.</summary>
public sealed class PageArenaOptions
{
    /// <summary>Address space to reserve, bytes, rounded up to 4 MiB; 4 MiB to 16 TiB. Null or 0: four times the memory cgroup's limit,
    /// else four times the machine's memory. Reserved, not resident: it costs nothing until used.</summary>
    public nuint SizeBytes { get; set; }

    /// <summary>The bound on bytes taken from the arena at one time. Null: three quarters of the memory cgroup's limit (or of the machine's
    /// memory, if that is less or there is no limit), so that a quarter is left for the GC's heap, stacks and code; it follows the limit
    /// when that changes, within about a second, while treatment runs. Below what is taken it stops at what is taken, and falls further as that
    /// comes back. Blocks that rest in the threads' pages count until they are drained, which happens before an allocation fails.</summary>
    public nuint? CapBytes { get; set; }

    /// <summary>What becomes of an allocation at the cap. Default <see cref="CapPolicy.Throw"/>.</summary>
    public CapPolicy CapPolicy { get; set; }

    /// <summary>How long an allocation may wait under <see cref="CapPolicy.Wait"/>, 1 ms to one day, by
    /// <see cref="AerationOptions.Clock"/>. Default 10 s.</summary>
    public TimeSpan CapTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>The reserve, bytes (the kernel's min_free_kbytes): the last bytes under the cap are for
    /// <see cref="AllocationFlags.Atomic"/> only. Null: by the kernel's formula, the square root of 16 times the bound in KiB, 128 KiB
    /// to 64 MiB, but at most 1/64 of the bound. 0: no reserve.</summary>
    public nuint? MinFreeBytes { get; set; }

    /// <summary>Huge-page advice. Default <see cref="HugePages.Advise"/>.</summary>
    public HugePages HugePages { get; set; }

    /// <summary>Leaves the arena's pages out of core dumps (MADV_DONTDUMP); the bookkeeping stays in. Default false.</summary>
    public bool ExcludeFromDumps { get; set; }

    /// <summary>What backs the arena. Default <see cref="ArenaBacking.Anonymous"/>.</summary>
    public ArenaBacking Backing { get; set; }

    /// <summary>Zones that the arena is cut into, 1 to 64. Null: one for each NUMA node with memory.</summary>
    public int? Zones { get; set; }

    /// <summary>Waste page treatment.</summary>
    public AerationOptions Aeration { get; set; } = new();

    /// <summary>Debug mode: finds what default mode finds late or not. A freed block is filled with a pattern, held back for a while
    /// (<see cref="QuarantineBytes"/>), and made inaccessible meanwhile where the kernel allows it, so that a use after free faults at once; what is
    /// written all the same is told when the block leaves, with the stacks that allocated and freed it. Two threads that free one block at the
    /// same instant are told apart, and a double free names both stacks. A <see cref="NativeHeap"/> has canaries behind its blocks and
    /// holds back what is freed, too. Costs system calls and stack walks on each allocate and free; keeps stacks of up to 20 frames of the last
    /// several thousand blocks. What is found is an <see cref="InvalidOperationException"/> from the next free, Trim or Verify.</summary>
    public bool DebugChecks { get; set; }

    /// <summary>With <see cref="DebugChecks"/>: bytes of freed blocks that are held back, 0 (none) to <see cref="CapBytes"/>, at most 1024 blocks;
    /// larger blocks are not. They come back before an allocation fails, first in first out. Null: 1/16 of the cap, at most 64 MiB.</summary>
    public nuint? QuarantineBytes { get; set; }

    /// <summary>What is freed is overwritten with zeros by the freeing thread before anybody else can have it: blocks and ranges, what a range loses,
    /// blocks outside of the arena, and the objects of heaps. It then counts as reading zero, so a <see cref="AllocationFlags.Zeroed"/> allocation
    /// writes it no more. Costs that write on each free, the threads' fast path, and residency of what was never touched. (Without
    /// it an allocation without Zeroed may show what another user of the same arena has left.) Not with a
    /// <see cref="PoisonValue"/> other than 0. Default false.</summary>
    public bool ZeroOnFree { get; set; }

    /// <summary>The arena is one tenant's: its pages share no pageblock, no huge page and no mapping with anybody else's, stand between
    /// inaccessible guards of 2 MiB, apart from their metadata, and are left out of core dumps and of children (MADV_DONTFORK).
    /// <see cref="ZeroOnFree"/> goes with it. All heaps and pools on one arena are the same tenant. Not with <see cref="CapPolicy.FallBack"/>, whose
    /// blocks lie elsewhere, nor with a <see cref="Host"/> that gets the memory itself (<see cref="ArenaBacking.Memfd"/>). Default false.</summary>
    public bool Isolated { get; set; }

    /// <summary>Seed of the free-list shuffle (blocks of order 10 go to head or tail by a random bit). Null: no shuffle.</summary>
    public ulong? ShuffleSeed { get; set; }

    /// <summary>A value written over every 32-bit word of a freed block, for callers that want freed memory to be recognisable. The
    /// driver then negotiates PAGE_POISON, and the host keeps such blocks unless the value is 0. Null: freed memory is left as it is.</summary>
    public uint? PoisonValue { get; set; }

    /// <summary>Where the host is. Null: in this process. "unix:PATH": the process that listens there (vhost-user; LowLevel.Host is one), from whose budget
    /// this arena then lives: it is asked for memory when others need it, and takes it back when it runs out. With <see cref="ArenaBacking.Memfd"/>
    /// the host drops free memory by holes in the shared file, and is believed with its contents, as a hypervisor is; with
    /// <see cref="ArenaBacking.Anonymous"/> it gets no memory, directs and counts, and this process drops. A host that is not there, or goes away, is tried
    /// again by and by; treatment goes on without it. Not with <see cref="AerationContext.FreeingThread"/>, which cannot serve a host elsewhere, nor with
    /// <see cref="ReportingDialect.Hints"/>.</summary>
    public string? Host { get; set; }

    /// <summary>The name that smaps shows as [anon:name], 1 to 74 printable characters without spaces and []\$`. Default "lowlevel-arena".</summary>
    public string Name { get; set; } = "lowlevel-arena";

    /// <summary>Who makes the meter "LowLevel.Allocator" that shows this arena, where there is dependency injection. Null: a meter that all such arenas
    /// of the process share.</summary>
    public IMeterFactory? MeterFactory { get; set; }

    /// <summary>A thread keeps freed blocks for itself and takes them from there (the kernel's per-cpu pages). Default true.</summary>
    public bool ThreadPages { get; set; } = true;
}

/// <summary>Options of waste page treatment. Read once by <see cref="PageArena.Create"/>.</summary>
public sealed class AerationOptions
{
    /// <summary>Whether treatment is on. Default true.</summary>
    public bool Enabled { get; set; } = true;

    /// <summary>Who carries it out. Default <see cref="AerationContext.Worker"/>.</summary>
    public AerationContext Context { get; set; }

    /// <summary>The least order treated, 0 to 10, of whatever pageblock. Null: the policy's choice: whole pageblocks (order 9 and 10) after
    /// <see cref="Delay"/>, and the smaller holes of a pageblock that is partly in use after 1.5 times that, when a quarter of it is such holes
    /// and nothing in it was freed or handed out meanwhile; a part of what is reused again and again (at most 1/16 of what is in use) is
    /// kept for 8 delays.</summary>
    public int? MinimumOrder { get; set; }

    /// <summary>Blocks per batch that the driver asks for, 1 to 1024; the queue and the device may allow less, and a batch ends at 512 MiB
    /// whatever their number. Default 256.</summary>
    public int ReactorCapacity { get; set; } = 256;

    /// <summary>The least time from <see cref="PageArena.FreePages"/> to treatment, 0 to one day; what rests is treated between 1.0 and
    /// 1.25 times this later, sooner under <see cref="RespondToPressure"/>. 0: at the high-water mark, at once. Default 1 s.</summary>
    public TimeSpan Delay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Whether a shortage of memory shortens <see cref="Delay"/>. About once a second the worker reads what the memory cgroup is
    /// charged (without file pages that the kernel can drop at once) against its limit, and the stalls that the kernel counts (PSI, where it
    /// does): from 90 % or stalls in 5 % of the time on, the delay is a quarter; from 97 % or 20 % on, it is 0 and nothing is kept for reuse.
    /// Files that are missing or unreadable say nothing. Default true.</summary>
    public bool RespondToPressure { get; set; } = true;

    /// <summary>How long the host may take over one batch before it is taken for lost, 1 ms to 10 minutes. Default 2 s.</summary>
    public TimeSpan HostTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>How the in-process host drops memory. Default <see cref="DiscardMode.DontNeed"/>.</summary>
    public DiscardMode Discard { get; set; }

    /// <summary>Payload of the reporting queue. Default <see cref="ReportingDialect.Standard"/>.</summary>
    public ReportingDialect Dialect { get; set; }

    /// <summary>The clock of delays and timeouts. Default <see cref="TimeProvider.System"/>.</summary>
    public TimeProvider Clock { get; set; } = TimeProvider.System;

    /// <summary>Whether the in-process host makes a call for each range, although the kernel would take many in one. To compare the two.</summary>
    internal bool OneRangePerCall { get; set; }
}

/// <summary>How one allocation goes about it.</summary>
[Flags]
public enum AllocationFlags
{
    /// <summary>Contents undefined, respects the reserve.</summary>
    None = 0,

    /// <summary>The block reads zero. Writes only where the block is not already known to be zero.</summary>
    Zeroed = 1,

    /// <summary>May use the reserve (the min watermark and the HighAtomic pageblocks); never waits for the reactor.</summary>
    Atomic = 2,

    /// <summary>Makes the block resident now (MADV_POPULATE_WRITE, Linux 5.14): a failure is an <see cref="OutOfMemoryException"/> that names
    /// the errno, instead of a fault later. An older kernel (EINVAL) does not know the call: there each page is touched, and what fails
    /// then fails as a fault does.</summary>
    Populate = 4,
}
