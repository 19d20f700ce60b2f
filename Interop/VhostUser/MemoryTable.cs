using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>A guest's memory as its frontend has shared it: each region's file, mapped here. The frontend is not trusted: a region must lie in
/// its file, and the file must be sealed against shrinking, because to touch a page behind the end of a file kills the process that does
/// (SIGBUS). Immutable but for <see cref="Dispose"/>.</summary>
internal sealed class MemoryTable : IDisposable
{
    /// <summary>The most that one guest may share, mapped or not: addresses of this process are all guests' to use.</summary>
    public const ulong BytesMax = 1ul << 42;

    private const ulong PageBytes = 1u << BalloonLimits.PfnShift;

    private readonly IOperatingSystem _system;
    private readonly IDescriptors _descriptors;
    private readonly List<Region> _regions = [];

    private MemoryTable(IOperatingSystem system, IDescriptors descriptors)
    {
        _system = system;
        _descriptors = descriptors;
        Memory = new GuestMemory();
    }

    /// <summary>The memory by guest address.</summary>
    public GuestMemory Memory { get; private set; }

    /// <summary>Number of regions.</summary>
    public int Count => _regions.Count;

    /// <summary>Bytes of all regions.</summary>
    public ulong Bytes => _regions.Aggregate(0ul, static (sum, region) => sum + region.At.Bytes);

    /// <summary>Bytes that the kernel keeps for the regions' files; a file that several regions share counts once.</summary>
    public ulong ResidentBytes
    {
        get
        {
            ulong bytes = 0;
            HashSet<ulong> seen = [];
            foreach (Region region in _regions)
            {
                if (_descriptors.Examine(region.File, out FileFacts facts) == Errno.None && seen.Add(facts.Inode))
                {
                    bytes += facts.ResidentBytes;
                }
            }

            return bytes;
        }
    }

    /// <summary>No memory.</summary>
    public static MemoryTable Empty(IOperatingSystem system, IDescriptors descriptors) => new(system, descriptors);

    /// <summary>This table with another region; what both have stays mapped, and is the new table's to unmap.</summary>
    /// <param name="region">The region.</param>
    /// <param name="file">Its file; the table's from now on, whatever comes of it.</param>
    /// <exception cref="ProtocolViolationException">This is no region of guest memory; this table is as it was.</exception>
    public MemoryTable With(in VhostUserMemoryRegion region, int file)
    {
        MemoryTable table = new(_system, _descriptors);
        nint mapping = 0;
        try
        {
            if (_regions.Count == VhostUserLimits.RegionsMax || region.Bytes > BytesMax - Bytes)
            {
                throw new ProtocolViolationException(Say($"more than {VhostUserLimits.RegionsMax} regions or 0x{BytesMax:x} bytes of memory"));
            }

            mapping = Map(region, file);
            table._regions.AddRange(_regions);
            table._regions.Add(new Region(region, file, mapping));
            table.Memory = new GuestMemory([.. table._regions.Select(static one => one.InProcess)]);
            _regions.Clear();
            return table;
        }
        catch (Exception e) when (e is ArgumentException or ProtocolViolationException)
        {
            table._regions.Clear();
            if (mapping != 0)
            {
                _system.Unmap(mapping, Region.MappedBytes(region));
            }

            _descriptors.Close(file);
            throw e as ProtocolViolationException ?? new ProtocolViolationException(e.Message, e);
        }
    }

    /// <summary>The guest address of an address of the frontend's. False: it is in no region.</summary>
    public bool TryFromUser(ulong address, out ulong guest)
    {
        foreach (Region region in _regions)
        {
            ulong offset = unchecked(address - region.At.UserAddress);
            if (address >= region.At.UserAddress && offset < region.At.Bytes)
            {
                guest = region.At.GuestAddress + offset;
                return true;
            }
        }

        guest = 0;
        return false;
    }

    /// <summary>The file, and the offset in it, of a guest address, and how far its region goes. False: it is in no region.</summary>
    public bool TryFile(ulong address, out int file, out ulong offset, out ulong bytes)
    {
        foreach (Region region in _regions)
        {
            if (address >= region.At.GuestAddress && address - region.At.GuestAddress < region.At.Bytes)
            {
                ulong inside = address - region.At.GuestAddress;
                (file, offset, bytes) = (region.File, region.At.MmapOffset + inside, region.At.Bytes - inside);
                return true;
            }
        }

        (file, offset, bytes) = (-1, 0, 0);
        return false;
    }

    /// <summary>Unmaps everything and closes the files: the guest sees by that that nobody can touch its memory any more.</summary>
    public void Dispose()
    {
        _regions.ForEach(Close);
        _regions.Clear();
        Memory = new GuestMemory();
    }

    private static string Say(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private nint Map(in VhostUserMemoryRegion region, int file)
    {
        bool isSound = region.Bytes != 0 && region.Bytes <= long.MaxValue
            && region.GuestAddress <= ulong.MaxValue - region.Bytes && region.UserAddress <= ulong.MaxValue - region.Bytes
            && region.MmapOffset <= long.MaxValue - region.Bytes && region.MmapOffset % PageBytes == 0;
        if (!isSound)
        {
            throw new ProtocolViolationException(Say(
                $"region of 0x{region.Bytes:x} bytes at 0x{region.GuestAddress:x}, offset 0x{region.MmapOffset:x}: it is empty, wraps, or its offset is no page"));
        }

        Errno error = _descriptors.SealSize(file, final: false);
        if (error != Errno.None)
        {
            throw new ProtocolViolationException(Say($"the file of a region can shrink under this process and cannot be sealed ({error}): share a memfd"));
        }

        error = _descriptors.Examine(file, out FileFacts facts);
        if (error != Errno.None || region.MmapOffset + region.Bytes > facts.Bytes)
        {
            throw new ProtocolViolationException(Say(
                $"region of 0x{region.Bytes:x} bytes at offset 0x{region.MmapOffset:x} of a file of 0x{facts.Bytes:x} bytes ({error})"));
        }

        error = _system.MapShared(file, region.MmapOffset, Region.MappedBytes(region), MemoryProtection.ReadWrite, 0, out nint mapping);
        return error == Errno.None
            ? mapping
            : throw new ProtocolViolationException(Say($"region of 0x{region.Bytes:x} bytes cannot be mapped: {error}"));
    }

    private void Close(Region region)
    {
        _system.Unmap(region.Mapping, Region.MappedBytes(region.At));
        _descriptors.Close(region.File);
    }

    private sealed record Region(VhostUserMemoryRegion At, int File, nint Mapping)
    {
        public GuestRegion InProcess => new(At.GuestAddress, At.Bytes, Mapping);

        public static nuint MappedBytes(in VhostUserMemoryRegion region) => (nuint)((region.Bytes + PageBytes - 1) & ~(PageBytes - 1));
    }
}
