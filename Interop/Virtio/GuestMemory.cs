using System;
using System.Collections.Generic;

namespace LowLevel.Interop.Virtio;

/// <summary>A stretch of guest memory and where this process sees it.</summary>
/// <param name="Address">First guest address; the arena's is 0.</param>
/// <param name="Bytes">Length.</param>
/// <param name="Host">The same byte in this process.</param>
internal readonly record struct GuestRegion(ulong Address, ulong Bytes, nint Host);

/// <summary>The memory that driver and device share, by guest address: the arena at 0 and, behind it, a control region with
/// the rings and their tables. What stands on a ring is a guest address, never a pointer, so the same ring works in process
/// and across processes. Immutable, so thread-safe.</summary>
internal sealed class GuestMemory
{
    private readonly GuestRegion[] _regions;

    /// <summary>Regions in any order.</summary>
    /// <exception cref="ArgumentException">A region is empty, has no host address, wraps or overlaps another.</exception>
    public GuestMemory(params ReadOnlySpan<GuestRegion> regions)
    {
        _regions = regions.ToArray();
        Array.Sort(_regions, static (a, b) => a.Address.CompareTo(b.Address));
        ulong end = 0;
        foreach (GuestRegion region in _regions)
        {
            if (region.Bytes == 0 || region.Host == 0 || region.Bytes > ulong.MaxValue - region.Address || region.Address < end)
            {
                throw new ArgumentException(
                    $"region of 0x{region.Bytes:x} bytes at guest address 0x{region.Address:x}, host 0x{region.Host:x}: " +
                    "a region has a length, a host address, an end below 2^64 and overlaps no other", nameof(regions));
            }

            end = region.Address + region.Bytes;
        }
    }

    /// <summary>The regions by address.</summary>
    public IReadOnlyList<GuestRegion> Regions => _regions;

    /// <summary>The pointer to a range that lies in one region. False, and no pointer, for anything else: an empty range, one
    /// that leaves its region, one whose end wraps.</summary>
    public unsafe bool TryTranslate(ulong address, ulong length, out byte* host)
    {
        foreach (GuestRegion region in _regions)
        {
            // Differences, never sums: nothing here can wrap.
            if (address >= region.Address && address - region.Address < region.Bytes)
            {
                ulong offset = address - region.Address;
                bool inside = length != 0 && length <= region.Bytes - offset;

                // Sound: the range was just found to lie in a region that the constructor's caller answers for.
                host = inside ? (byte*)region.Host + offset : null;
                return inside;
            }
        }

        host = null;
        return false;
    }
}
