using System;
using System.Globalization;
using System.IO;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The mappings of one arena: the pages themselves, aligned for the largest block, and beside them the metadata (zones,
/// pageblock bits, struct pages) and the control pages of the ring. All reserved at once, resident only where touched. Where the
/// machine refuses to promise that much (overcommit), the reservation is inaccessible and opened in pieces as the zones grow.
/// <para>Each of the three mappings stands between inaccessible guards of its own, because the kernel puts new mappings right below old ones: a
/// linear overflow, or underflow, of what users have ends in a fault, and reaches neither metadata nor another arena.</para>
/// <code>
/// guard (2 MiB) | pages | guard (2 MiB)      guard (64 KiB) | metadata | guard      guard (64 KiB) | ring | guard
/// </code></summary>
internal sealed class ArenaMemory : IDisposable
{
    private const nuint PieceBytes = 64 << 20;
    private const int PieceShift = 26;
    private const nuint ControlLength = 256 << 10;

    /// <summary>Inaccessible bytes before and behind the pages: a pageblock, so that no huge page of a neighbour's begins in one of ours.</summary>
    public const nuint PagesGuard = 2 << 20;

    /// <summary>The same of metadata and ring.</summary>
    public const nuint DataGuard = 64 << 10;

    private readonly IOperatingSystem _os;
    private readonly nint _metadata;
    private readonly nuint _metadataBytes;
    private readonly nuint _fixedBytes;
    private readonly bool[]? _opened; // null: everything is accessible
    private readonly Lock _opening = new();
    private int _released;

    private ArenaMemory(IOperatingSystem os, nint arena, nuint bytes, int memfd, MetadataPlan plan, nint metadata, bool pieces)
    {
        _os = os;
        Base = arena;
        Bytes = bytes;
        Memfd = memfd;
        _metadata = metadata;
        _metadataBytes = plan.Bytes;
        _fixedBytes = plan.FixedBytes;
        _opened = pieces ? new bool[(int)((bytes + PieceBytes - 1) / PieceBytes)] : null;
        unsafe
        {
            // Sound: the metadata mapping was made by the plan's sizes and lives until Release, after which nothing asks for the map.
            byte* start = (byte*)metadata;
            Map = new PageMap(
                (Page*)(start + plan.FixedBytes), (ulong*)(start + plan.ZonesBytes), (PageblockData*)(start + plan.ZonesBytes + plan.BitsBytes));
        }
    }

    /// <summary>The arena's first byte.</summary>
    public nint Base { get; }

    /// <summary>Its size; a multiple of 4 MiB.</summary>
    public nuint Bytes { get; }

    /// <summary>The file behind it, -1 where it is anonymous.</summary>
    public int Memfd { get; }

    /// <summary>struct pages and pageblock bits.</summary>
    public PageMap Map { get; }

    /// <summary>Page-aligned memory for rings and control buffers.</summary>
    public nint Control { get; private init; }

    /// <summary>Its size in bytes.</summary>
    public static nuint ControlBytes => ControlLength;

    /// <summary>Resident bytes of zones, pageblock bits and pageblocks, as the kernel says.</summary>
    public long ResidentFixedMetadataBytes => KernelView.ResidentPages(_metadata, _fixedBytes) * PageblockLimits.PageSize;

    /// <summary>Resident bytes of the struct pages of some pages, as the kernel says: mincore, about 0.1 ms per GiB of arena.</summary>
    public long ResidentStructPageBytes(Pfn from, ulong end) =>
        KernelView.ResidentPages(MetadataAddress(from), (nuint)(end - from.Value) * (nuint)Page.SizeInBytes) * PageblockLimits.PageSize;

    /// <summary>The address of a struct page, for advice.</summary>
    public nint MetadataAddress(Pfn pfn) => _metadata + (nint)(_fixedBytes + ((nuint)pfn.Value * Page.SizeInBytes));

    /// <summary>The memory of a zone's struct.</summary>
    public unsafe ZoneData* ZoneAt(int number) => (ZoneData*)_metadata + number;

    /// <summary>Reserves an arena. What was mapped before a failure is unmapped again.</summary>
    /// <exception cref="OutOfMemoryException">The OS refused; the message names the call and the errno.</exception>
    public static ArenaMemory Reserve(IOperatingSystem os, nuint bytes, int zones, PageArenaOptions options)
    {
        MetadataPlan plan = MetadataPlan.For(bytes, zones);
        bool pieces = false;
        int memfd = -1;
        nint arena = 0;
        nint metadata = 0;
        nint control = 0;
        try
        {
            if (options.Backing == ArenaBacking.Memfd)
            {
                Require(os.CreateMemfd(options.Name, bytes, out memfd), "memfd_create", bytes);
                if (options.Host is not null)
                {
                    Errno prepared = SharedMemoryFile.Prepare(LinuxDescriptors.Instance, ref memfd, out string call);
                    Require(prepared, call, bytes);
                }
            }

            Errno errno = MapArena(os, bytes, MemoryProtection.ReadWrite, out arena);
            if (errno == Errno.ENOMEM)
            {
                pieces = true;
                errno = MapArena(os, bytes, MemoryProtection.None, out arena);
            }

            Require(errno, "mmap of the arena", bytes);
            // Unreadable metadata would turn a wild pointer into a crash instead of an exception: it stays readable.
            Require(MapGuarded(os, plan.Bytes, out metadata), "mmap of the struct pages", plan.Bytes);
            Require(MapGuarded(os, ControlLength, out control), "mmap of the ring", ControlLength);
            ArenaMemory memory = new(os, arena, bytes, memfd, plan, metadata, pieces) { Control = control };
            memory.Close(pieces);
            memory.Prepare(options);
            return memory;
        }
        catch
        {
            Undo(os, arena, bytes, metadata, plan.Bytes, control, memfd);
            throw;
        }
    }

    /// <summary>Makes pages and their struct pages accessible. Bounded: one call per 64 MiB that was not open yet.</summary>
    public Errno Open(Pfn from, ulong pages)
    {
        if (_opened is null)
        {
            return Errno.None;
        }

        lock (_opening)
        {
            int last = (int)((from.ByteOffset + (pages << PageblockLimits.PageShift) - 1) >> PieceShift);
            for (int piece = (int)(from.ByteOffset >> PieceShift); piece <= last; piece++)
            {
                Errno errno = _opened[piece] ? Errno.None : OpenPiece(piece);
                if (errno != Errno.None)
                {
                    return errno;
                }
            }
        }

        return Errno.None;
    }

    /// <summary>Unmaps everything, once. The control pages and the arena may be left behind where a device may still touch them.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
        {
            Undo(_os, Base, Bytes, _metadata, _metadataBytes, Control, Memfd);
        }
    }

    /// <summary>Everything but the guards becomes accessible: of an arena that is opened in pieces, the struct pages can be read.</summary>
    private void Close(bool pieces)
    {
        if (!pieces)
        {
            Require(_os.Protect(Base - (nint)PagesGuard, PagesGuard, MemoryProtection.None), "mprotect of the guard", PagesGuard);
            Require(_os.Protect(Base + (nint)Bytes, PagesGuard, MemoryProtection.None), "mprotect of the guard", PagesGuard);
        }

        MemoryProtection readable = pieces ? MemoryProtection.Read : MemoryProtection.ReadWrite;
        Require(_os.Protect(_metadata, _metadataBytes, readable), "mprotect of the struct pages", _metadataBytes);
        Require(_os.Protect(Control, ControlLength, MemoryProtection.ReadWrite), "mprotect of the ring", ControlLength);
    }

    private void Prepare(PageArenaOptions options)
    {
        // Advice and names are wishes: a kernel without them runs the arena all the same.
        if (Memfd >= 0)
        {
            Require(_os.MapShared(Memfd, 0, Bytes, _opened is null ? MemoryProtection.ReadWrite : MemoryProtection.None, Base, out _), "mmap of the memfd", Bytes);
        }

        if (options.HugePages != HugePages.System)
        {
            _os.Advise(Base, Bytes, options.HugePages == HugePages.Advise ? MemoryAdvice.HugePage : MemoryAdvice.NoHugePage);
        }

        if (options.ExcludeFromDumps || options.Isolated)
        {
            // Holds for the whole mapping, opened or not: mprotect in pieces keeps what madvise has said.
            _os.Advise(Base, Bytes, MemoryAdvice.DontDump);
        }

        if (options.Isolated)
        {
            // A child has none of it, whatever it does between fork and exec. That is a promise of the option, not a wish.
            Require(_os.Advise(Base, Bytes, MemoryAdvice.DontFork), "madvise DONTFORK of the arena", Bytes);
        }

        _os.Advise(_metadata, _metadataBytes, MemoryAdvice.NoHugePage);
        _os.NameMapping(Base, Bytes, options.Name);
        _os.NameMapping(_metadata, _metadataBytes, options.Name + "-meta");
        _os.NameMapping(Control, ControlLength, options.Name + "-ring");
        if (_opened is not null)
        {
            Require(_os.Protect(_metadata, _fixedBytes, MemoryProtection.ReadWrite), "mprotect of the zones", _fixedBytes);
        }
    }

    private Errno OpenPiece(int piece)
    {
        nuint start = (nuint)piece << PieceShift;
        nuint length = Math.Min(PieceBytes, Bytes - start);
        Errno errno = _os.Protect(Base + (nint)start, length, MemoryProtection.ReadWrite);
        if (errno == Errno.None)
        {
            nuint scale = PageblockLimits.PageSize / Page.SizeInBytes;
            errno = _os.Protect(_metadata + (nint)(_fixedBytes + (start / scale)), length / scale, MemoryProtection.ReadWrite);
        }

        _opened![piece] = errno == Errno.None;
        return errno;
    }

    /// <summary>mmap gives page alignment; the largest block wants its own size. One block more is asked for, and room for the guards; the rests go
    /// back.</summary>
    private static Errno MapArena(IOperatingSystem os, nuint bytes, MemoryProtection protection, out nint arena)
    {
        nuint align = Order.Max.Bytes;
        nuint whole = bytes + align + (2 * PagesGuard);
        Errno errno = os.MapAnonymous(whole, protection, out nint raw);
        arena = 0;
        if (errno != Errno.None)
        {
            return errno;
        }

        arena = (raw + (nint)PagesGuard + (nint)align - 1) & ~((nint)align - 1);
        nint start = arena - (nint)PagesGuard;
        nint end = arena + (nint)(bytes + PagesGuard);
        if (start != raw)
        {
            os.Unmap(raw, (nuint)(start - raw));
        }

        if (end != raw + (nint)whole)
        {
            os.Unmap(end, (nuint)(raw + (nint)whole - end));
        }

        return Errno.None;
    }

    /// <summary>Inaccessible, with guards at both ends.</summary>
    private static Errno MapGuarded(IOperatingSystem os, nuint bytes, out nint address)
    {
        Errno errno = os.MapAnonymous(bytes + (2 * DataGuard), MemoryProtection.None, out nint raw);
        address = errno == Errno.None ? raw + (nint)DataGuard : 0;
        return errno;
    }

    private static void Undo(IOperatingSystem os, nint arena, nuint bytes, nint metadata, nuint metadataBytes, nint control, int memfd)
    {
        if (arena != 0)
        {
            os.Unmap(arena - (nint)PagesGuard, bytes + (2 * PagesGuard));
        }

        if (metadata != 0)
        {
            os.Unmap(metadata - (nint)DataGuard, metadataBytes + (2 * DataGuard));
        }

        if (control != 0)
        {
            os.Unmap(control - (nint)DataGuard, ControlLength + (2 * DataGuard));
        }

        if (memfd >= 0)
        {
            os.Close(memfd);
        }
    }

    private static void Require(Errno errno, string call, nuint bytes)
    {
        if (errno != Errno.None)
        {
            throw new OutOfMemoryException(string.Create(CultureInfo.InvariantCulture, $"{call} of {bytes} bytes failed: {errno}"));
        }
    }

    /// <summary>Where the parts of the metadata mapping begin.</summary>
    private readonly record struct MetadataPlan(nuint ZonesBytes, nuint BitsBytes, nuint FixedBytes, nuint Bytes)
    {
        public static MetadataPlan For(nuint arenaBytes, int zones)
        {
            nuint pages = arenaBytes >> PageblockLimits.PageShift;
            nuint zonesBytes = PageUp((nuint)zones * ZoneData.SizeInBytes);
            nuint blocks = pages >> PageblockLimits.PageblockOrder;
            nuint bitsBytes = PageUp(PageblockBits.BytesFor((uint)blocks));
            nuint fixedBytes = zonesBytes + bitsBytes + PageUp(blocks * PageblockData.SizeInBytes);
            return new(zonesBytes, bitsBytes, fixedBytes, fixedBytes + PageUp(pages * Page.SizeInBytes));
        }

        private static nuint PageUp(nuint bytes) => (bytes + PageblockLimits.PageSize - 1) & ~(nuint)(PageblockLimits.PageSize - 1);
    }
}
