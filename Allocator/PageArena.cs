using System;
using System.Diagnostics.Tracing;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A large piece of off-heap memory, run like the Linux kernel runs RAM: blocks of 4 KiB to 4 MiB from a buddy allocator,
/// ranges above. What is freed and rests goes back to the operating system by itself (see <see cref="AerationOptions.Delay"/>).
/// <para>All members may be called from any thread. Memory that a block's user still touches after freeing it is not protected, but with
/// <see cref="PageArenaOptions.DebugChecks"/>.
/// An arena lives until it is disposed and its last block has come back.</para></summary>
public sealed partial class PageArena : IDisposable
{
    private static int s_created;

    private readonly ArenaMemory _memory;
    private readonly Zone[] _zones;
    private readonly ulong _zonePages; // of each zone but the last, which has the rest
    private readonly ThreadPagesRegistry _threads;
    private readonly bool _usesThreadPages;
    private readonly bool _checks;
    private readonly uint? _fill; // what is written over each word of freed memory
    private readonly Seldom _seldom; // one reference: what the fast path reads stays within short offsets
    private readonly int _quickGate; // the arena's number; -1, which no gate holds, where every block takes the slow path
    private readonly unsafe byte* _base;
    private readonly PageMap _map;
    private nuint _validPages; // 0 once unmapped, so that no pointer passes
    private ulong _epoch;
    private long _pins;
    private int _disposed;
    private int _unmapped;

    private unsafe PageArena(IOperatingSystem os, ArenaPlan plan, PageArenaOptions options, TreatmentSeams seams)
    {
        System = os;
        Plan = plan;
        Id = Interlocked.Increment(ref s_created);
        Face = new ArenaFace(this, Id, options); // before the reservation: a factory that throws leaves no mapping behind
        _memory = ArenaMemory.Reserve(os, plan.Bytes, plan.Zones.Length, options);
        _base = (byte*)_memory.Base;
        _map = _memory.Map;
        _validPages = plan.Bytes >> PageblockLimits.PageShift;
        _zonePages = plan.Zones[0].Pages;
        _usesThreadPages = options.ThreadPages;
        _checks = options.DebugChecks;
        bool zeroes = options.ZeroOnFree || options.Isolated;
        _fill = options.PoisonValue ?? (zeroes ? 0 : _checks ? Pattern.Freed : null);
        _quickGate = _checks || _fill is not null ? -1 : Id;
        ulong bound = plan.CapFollowsLimit ? plan.Bytes >> PageblockLimits.PageShift : plan.CapPages;
        Budget = new Budget(bound, plan.CapPages, plan.Marks) { Emptied = EndIfEmpty };
        ArenaDebug? debug = _checks ? new ArenaDebug(os, _memory.Base, plan, options.QuarantineBytes) : null;
        _seldom = new Seldom(options.CapPolicy, options.CapTimeout, options.Aeration.Clock, new OutsideBlocks(os, options), zeroes, debug);
        _zones = new Zone[plan.Zones.Length];
        ulong zonePagesInAll = plan.Bytes >> PageblockLimits.PageShift;
        for (int i = 0; i < _zones.Length; i++)
        {
            ZoneSpan span = plan.Zones[i];
            ulong? seed = options.ShuffleSeed is ulong given ? given + (ulong)i : null;
            _zones[i] = new Zone(_memory.ZoneAt(i), _memory, span, plan.Marks.Share(span.Pages, zonePagesInAll), seed);
        }

        _threads = new ThreadPagesRegistry(this);
        Aerator = new Aerator(this, options, seams);
    }

    /// <summary>Reserves an arena. Costs address space and a few pages, whatever its size.</summary>
    /// <param name="options">Null: all defaults.</param>
    /// <exception cref="PlatformNotSupportedException">Not 64-bit Linux, or pages of another size than 4 KiB.</exception>
    /// <exception cref="ArgumentException">An option is out of its range; the message names it, its value and what is allowed.</exception>
    /// <exception cref="OutOfMemoryException">The OS refused the reservation; the message names the call and the errno.</exception>
    public static PageArena Create(PageArenaOptions? options = null)
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess)
        {
            throw new PlatformNotSupportedException("LowLevel needs 64-bit Linux: it reserves by mmap and returns memory by madvise.");
        }

        return CreateOn(LinuxSystem.Instance, options ?? new PageArenaOptions());
    }

    /// <summary>As <see cref="Create"/>, over an operating system that a test can make fail, and with a balloon
    /// and worker of its choice.</summary>
    internal static PageArena CreateOn(IOperatingSystem os, PageArenaOptions options, TreatmentSeams? seams = null)
    {
        if (os.PageSize != PageblockLimits.PageSize)
        {
            throw new PlatformNotSupportedException($"LowLevel needs pages of {PageblockLimits.PageSize} bytes; this machine has {os.PageSize}.");
        }

        ArenaPlan plan = ArenaPlan.From(options, os);
        PageArena arena = new(os, plan, options, seams ?? TreatmentSeams.Default);
        try
        {
            if (options.Aeration.Enabled)
            {
                arena.Aerator.Start();
            }
        }
        catch
        {
            arena.Dispose();
            throw;
        }

        LivingArenas.Add(arena);
        if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Lifecycle))
        {
            ArenaEvents.Log.ArenaCreated(arena.Id, (long)plan.Bytes, plan.Zones.Length);
        }

        return arena;
    }

    /// <summary>Bytes of address space reserved.</summary>
    public nuint SizeBytes => _memory.Bytes;

    /// <summary>The arena's first byte, aligned to 4 MiB. Blocks lie at multiples of their own size from here.</summary>
    public unsafe byte* BaseAddress => _base;

    /// <summary>Waste page treatment of this arena.</summary>
    public Aerator Aerator { get; }

    internal IOperatingSystem System { get; }

    internal ArenaPlan Plan { get; }

    internal ArenaMemory Memory => _memory;

    internal PageMap Map => _map;

    /// <summary>The arena's number in this process, from 1 on.</summary>
    internal int Id { get; }

    /// <summary>What of it is seen from outside.</summary>
    internal ArenaFace Face { get; }

    internal ReadOnlySpan<Zone> Zones => _zones;

    internal ThreadPagesRegistry Threads => _threads;

    internal Budget Budget { get; }

    /// <summary>Raised by each timed pass, with no lock held: what is built on the arena gives back what rests.</summary>
    internal event Action? Passing;

    /// <summary>A pass begins.</summary>
    internal void OnPass() => Passing?.Invoke();

    /// <summary>Whether freeing is to find every fault at once.</summary>
    internal bool HasChecks => _checks;

    internal bool IsDisposed => Volatile.Read(ref _disposed) != 0;

    internal bool IsUnmapped => Volatile.Read(ref _unmapped) != 0;

    /// <summary>The treatment epoch, advanced by the aerator's passes; stamps what is freed.</summary>
    internal ulong Epoch
    {
        get => Volatile.Read(ref _epoch);
        set
        {
            Volatile.Write(ref _epoch, value);
            foreach (Zone zone in _zones)
            {
                zone.Epoch = value;
            }
        }
    }

    /// <summary>Whether a block freed in this epoch has rested by now.</summary>
    internal bool IsRested(ulong freedAt) => freedAt + _zones[0].RestEpochs <= Epoch;

    /// <summary>The zone of a page: all zones but the last are of one size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal Zone ZoneOf(Pfn pfn) =>
        _zones.Length == 1 ? _zones[0] : _zones[(int)Math.Min(pfn.Value / _zonePages, (ulong)_zones.Length - 1)];

    /// <summary>The zone that a thread asks first: of its own NUMA node, in turn where a node has several.</summary>
    internal int PreferredZone(int threadNumber)
    {
        int node = System.CurrentNode;
        int same = 0;
        foreach (Zone zone in _zones)
        {
            same += zone.Node == node ? 1 : 0;
        }

        int skip = threadNumber % Math.Max(same, 1);
        for (int i = 0; i < _zones.Length; i++)
        {
            if (_zones[i].Node == node && skip-- == 0)
            {
                return i;
            }
        }

        return threadNumber % _zones.Length;
    }

    /// <summary>Drains the threads' pages and treats every raw block of <see cref="AerationOptions.MinimumOrder"/> and above now; returns
    /// when they are back on the free lists. Where treatment is off, it drains only. Waits at most for one batch in flight
    /// (<see cref="AerationOptions.HostTimeout"/>) and its own batches. With <see cref="PageArenaOptions.DebugChecks"/> what is held back comes back
    /// first.</summary>
    /// <exception cref="InvalidOperationException">Debug mode has found something; all the same everything was done.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public void Trim()
    {
        Pin();
        try
        {
            DrainQuarantine(all: true);
            _threads.DrainAll();
            Aerator.TreatEverything();
            Debug?.Reports.ThrowIfAny();
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>Refuses new work, ends treatment, and unmaps the arena when its last block has come back: blocks in use stay valid until
    /// they are freed. Threads that wait at the cap get an <see cref="ObjectDisposedException"/>. Harmless when repeated. Waits at most
    /// about twice <see cref="AerationOptions.HostTimeout"/>; memory that a lost host may still touch is then left mapped.</summary>
    public void Dispose()
    {
        Interlocked.Increment(ref _pins);
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            Unpin();
            return;
        }

        Budget.Close();
        LivingArenas.Remove(this);
        DrainQuarantine(all: true);
        _threads.Close();
        Aerator.Close();
        if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Lifecycle))
        {
            ArenaEvents.Log.ArenaDisposed(Id, (long)(Budget.TakenPages << PageblockLimits.PageShift));
        }

        Unpin();
    }

    /// <summary>Keeps the mappings while the caller is inside.</summary>
    internal void Pin() => ObjectDisposedException.ThrowIf(!TryPin(), this);

    /// <summary>As <see cref="Pin"/>. False: the arena was disposed.</summary>
    internal bool TryPin()
    {
        Interlocked.Increment(ref _pins);
        if (!IsDisposed)
        {
            return true;
        }

        Unpin();
        return false;
    }

    internal void Unpin()
    {
        if (Interlocked.Decrement(ref _pins) == 0 && IsDisposed)
        {
            EndIfEmpty();
        }
    }

    /// <summary>Both counters are read after one of them was lowered by an interlocked operation: whoever lowers the last one sees
    /// both zero, and the exchange lets only one of two through.</summary>
    private void EndIfEmpty()
    {
        if (!IsDisposed || Interlocked.Read(ref _pins) != 0 || Budget.TakenPages != Aerator.InflatedPages)
        {
            return;
        }

        if (Interlocked.Exchange(ref _unmapped, 1) == 0)
        {
            _validPages = 0;
            if (!Aerator.LeavesMemoryBehind)
            {
                _memory.Dispose();
            }
        }
    }
}
