using System;
using System.Numerics;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>Guest addresses of the three parts of a split virtqueue.</summary>
internal readonly record struct VirtqueueAddresses(ulong Descriptors, ulong Available, ulong Used);

/// <summary>Sizes and places of the parts of a split virtqueue (VIRTIO 1.2, 2.7):
/// <code>
/// descriptors  align 16   16 * Q
/// available    align 2    4 + 2 * Q + 2     flags, idx, ring[Q], used_event
/// used         align 4    4 + 8 * Q + 2     flags, idx, ring[Q], avail_event
/// </code>
/// The event words are there whether or not EVENT_IDX is negotiated.</summary>
internal readonly record struct VirtqueueLayout
{
    /// <summary>The largest queue (2.7).</summary>
    public const int SizeMax = 32768;

    /// <summary>Alignment of the whole, which is that of the descriptor table.</summary>
    public const int Alignment = 16;

    /// <summary>Alignment of the available ring.</summary>
    public const int AvailableAlignment = 2;

    /// <summary>Alignment of the used ring.</summary>
    public const int UsedAlignment = 4;

    private const int EventBytes = sizeof(ushort);

    /// <summary>The layout of a queue of this size.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The size is no power of two in 1..32768.</exception>
    public VirtqueueLayout(int size)
    {
        if (!IsValidSize(size))
        {
            throw new ArgumentOutOfRangeException(nameof(size), size, $"a queue's size is a power of two, 1 to {SizeMax}");
        }

        Size = (ushort)size;
    }

    /// <summary>Descriptors in the table, and slots in each ring.</summary>
    public ushort Size { get; }

    /// <summary>Bytes of the descriptor table.</summary>
    public int DescriptorBytes => Size * VirtqDescriptor.SizeInBytes;

    /// <summary>Bytes of the available ring.</summary>
    public int AvailableBytes => VirtqRingHeader.SizeInBytes + (Size * sizeof(ushort)) + EventBytes;

    /// <summary>Bytes of the used ring.</summary>
    public int UsedBytes => VirtqRingHeader.SizeInBytes + (Size * VirtqUsedElement.SizeInBytes) + EventBytes;

    /// <summary>Offset of the used ring where the three parts follow one another.</summary>
    public int UsedOffset => (DescriptorBytes + AvailableBytes + UsedAlignment - 1) & -UsedAlignment;

    /// <summary>Bytes of the three parts one after another, rounded up so that another queue may follow.</summary>
    public int TotalBytes => (UsedOffset + UsedBytes + Alignment - 1) & -Alignment;

    /// <summary>Whether a queue may have this size.</summary>
    public static bool IsValidSize(int size) => size is > 0 and <= SizeMax && BitOperations.IsPow2(size);

    /// <summary>The three parts one after another from a guest address that is a multiple of 16.</summary>
    public VirtqueueAddresses PlaceAt(ulong address) => new(address, address + (ulong)DescriptorBytes, address + (ulong)UsedOffset);
}
