using System;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>What a driver without sense, or with some, writes on a ring.</summary>
internal static class RingWriter
{
    /// <summary>One of eight ways to write.</summary>
    /// <param name="step">Which, 0 to 7.</param>
    /// <param name="reader">What.</param>
    /// <param name="view">The ring.</param>
    /// <param name="table">Memory for indirect tables, which a guard follows.</param>
    /// <param name="tableAddress">Its guest address.</param>
    /// <param name="size">Descriptors.</param>
    public static void Write(int step, ref FuzzReader reader, RingView view, Span<VirtqDescriptor> table, ulong tableAddress, int size)
    {
        switch (step)
        {
            case 0 or 1:
                Chain(ref reader, view, size);
                break;
            case 2:
                view.Descriptor(reader.Byte()) = new VirtqDescriptor
                {
                    Addr = reader.Wild(), Len = reader.WildWord(), Flags = (ushort)reader.Below(8), Next = reader.WildShort(),
                };
                break;
            case 3:
                int entries = Tables(ref reader, table);
                int first = reader.Below(2) == 0 ? 0 : table.Length - entries;
                view.Descriptor(reader.Byte()) = new VirtqDescriptor
                {
                    Addr = tableAddress + (16ul * (uint)first), Len = 16 * (uint)entries, Flags = 4,
                };
                break;
            case 4:
                table[reader.Byte() % table.Length] = new VirtqDescriptor
                {
                    Addr = reader.Wild(), Len = reader.WildWord(), Flags = (ushort)reader.Below(8), Next = reader.WildShort(),
                };
                break;
            case 5 or 6:
                view.AvailableSlot(view.AvailableIndex) = (ushort)(reader.Byte() & ((2 * size) - 1));
                RingView.Advance(ref view.AvailableIndex);
                break;
            default:
                switch (reader.Below(4))
                {
                    case 0: view.AvailableIndex = reader.WildShort(); break;
                    case 1: view.UsedEvent = unchecked((ushort)(view.UsedIndex + reader.Byte() - 8)); break;
                    case 2: view.AvailableFlags = reader.WildShort(); break;
                    default: view.AvailableSlot(reader.Byte()) = reader.WildShort(); break;
                }

                break;
        }
    }

    /// <summary>A byte of the ring that the driver writes.</summary>
    public static void Scribble(ref FuzzReader reader, RingView view)
    {
        Span<byte> part = reader.Below(2) == 0 ? view.Descriptors : view.Available;
        part[reader.Byte() % part.Length] = reader.Byte();
    }

    /// <summary>A chain that may be one: readable buffers, then writable ones, one behind the other, perhaps published.</summary>
    private static void Chain(ref FuzzReader reader, RingView view, int size)
    {
        int head = reader.Byte() & (size - 1);
        int shape = reader.Byte();
        int count = 1 + (shape & 15);
        int readable = (shape >> 4) & 15;
        for (int i = 0; i < count; i++)
        {
            bool last = i == count - 1;
            view.Descriptor(head + i) = new VirtqDescriptor
            {
                Addr = reader.Byte() * 64ul,
                Len = 1 + (uint)reader.Byte(),
                Flags = (ushort)((i < readable ? 0 : 2) | (last ? 0 : 1)),
                Next = (ushort)((head + i + 1) & (size - 1)),
            };
        }

        view.AvailableSlot(view.AvailableIndex) = (ushort)head;
        RingView.Advance(ref view.AvailableIndex);
    }

    private static int Tables(ref FuzzReader reader, Span<VirtqDescriptor> table)
    {
        int entries = 1 + (reader.Byte() % table.Length);
        int first = reader.Below(2) == 0 ? 0 : table.Length - entries;
        for (int i = 0; i < entries; i++)
        {
            table[first + i] = new VirtqDescriptor
            {
                Addr = 64ul * (uint)i, Len = 16, Flags = (ushort)(2 | (i == entries - 1 ? 0 : 1)), Next = (ushort)(i + 1),
            };
        }

        return entries;
    }
}
