using System;
using System.Collections.Generic;

namespace LowLevel.Perf;

/// <summary>Makes inputs from inputs, the same ones from the same seed; most of them cut to a usual length.</summary>
internal sealed class FuzzMutator(ulong seed, int usual = int.MaxValue)
{
    private SplitMix _random = new(seed);

    /// <summary>The next input.</summary>
    /// <param name="corpus">What was worth keeping; may be empty.</param>
    /// <param name="buffer">Where it is made.</param>
    /// <returns>Its length.</returns>
    public int Next(IReadOnlyList<byte[]> corpus, Span<byte> buffer)
    {
        if (corpus.Count == 0 || _random.Below(16) == 0)
        {
            int fresh = 1 + _random.Below(Math.Min(usual, buffer.Length));
            Fill(buffer[..fresh]);
            return fresh;
        }

        ReadOnlySpan<byte> parent = corpus[_random.Below(corpus.Count)];
        int length = Math.Min(parent.Length, buffer.Length);
        parent[..length].CopyTo(buffer);
        for (int changes = 1 + _random.Below(6); changes > 0; changes--)
        {
            length = Change(buffer, length, corpus);
        }

        return length <= usual || _random.Below(8) == 0 ? length : usual - _random.Below(usual);
    }

    private int Change(Span<byte> buffer, int length, IReadOnlyList<byte[]> corpus)
    {
        int at = _random.Below(length);
        switch (_random.Below(9))
        {
            case 0 or 1:
                buffer[at] = unchecked((byte)_random.Next());
                return length;
            case 2:
                buffer[at] ^= (byte)(1 << _random.Below(8));
                return length;
            case 3:
                buffer[at] = unchecked((byte)(buffer[at] + _random.Below(9) - 4));
                return length;
            case 4:
                return Insert(buffer, length, at, 1 + _random.Below(8));
            case 5:
                return Remove(buffer, length, at, 1 + _random.Below(8));
            case 6:
                return Repeat(buffer, length, at, 1 + _random.Below(16));
            case 7:
                ReadOnlySpan<byte> other = corpus[_random.Below(corpus.Count)];
                int from = _random.Below(other.Length);
                int taken = Math.Min(other.Length - from, buffer.Length - at);
                other.Slice(from, taken).CopyTo(buffer[at..]);
                return at + taken;
            default:
                int more = Math.Min(buffer.Length - length, 1 + _random.Below(24));
                Fill(buffer.Slice(length, more));
                return length + more;
        }
    }

    private int Insert(Span<byte> buffer, int length, int at, int count)
    {
        count = Math.Min(count, buffer.Length - length);
        buffer[at..length].CopyTo(buffer[(at + count)..]);
        Fill(buffer.Slice(at, count));
        return length + count;
    }

    private static int Remove(Span<byte> buffer, int length, int at, int count)
    {
        count = Math.Min(count, length - at);
        if (count == length)
        {
            return length;
        }

        buffer[(at + count)..length].CopyTo(buffer[at..]);
        return length - count;
    }

    private static int Repeat(Span<byte> buffer, int length, int at, int count)
    {
        count = Math.Min(Math.Min(count, length - at), buffer.Length - length);
        buffer[at..length].CopyTo(buffer[(at + count)..]);
        return length + count;
    }

    private void Fill(Span<byte> bytes)
    {
        ulong word = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            word = i % 8 == 0 ? _random.Next() : word >> 8;
            bytes[i] = unchecked((byte)word);
        }
    }
}
