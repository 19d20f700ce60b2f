using System;
using System.Diagnostics;

namespace LowLevel.Perf;

/// <summary>How much memory comes and goes.</summary>
/// <param name="Bytes">Of the first allocation: the first block that reaches it is the last.</param>
/// <param name="Seed">Of the sizes and of the order of the frees.</param>
internal readonly record struct ReturnShape(long Bytes, ulong Seed)
{
    /// <summary>64 KiB, doubled up to 2 MiB.</summary>
    public const int SmallestBytes = 64 << 10;

    /// <summary>Sizes, each as likely by number.</summary>
    public const int Classes = 6;

    /// <summary>Of the blocks.</summary>
    public const double FreedShare = 0.9;

    /// <summary>Of the second allocation.</summary>
    public long SecondBytes => Bytes / 4;

    /// <summary>What a helper touches and frees before the first allocation, so that the host has the memory at hand.</summary>
    public long FirstWarmth => Bytes + (Bytes / 8);

    /// <summary>The same before the second one.</summary>
    public long SecondWarmth => SecondBytes * 3 / 2;

    public static ReturnShape Read(Arguments arguments) => new(
        (long)(arguments.Number("gib", 4, 1.0 / 64, 64) * (1L << 30)),
        (ulong)arguments.Integer("seed", 1, 0, int.MaxValue));
}

/// <summary>Blocks of random sizes are taken and touched, nine in ten chosen at random are given back in random order, and later
/// more are taken. Everything random is drawn in the constructor and every list has its final size there, so that while it is
/// measured the process does nothing but what is measured.</summary>
internal sealed class ReturnLoad
{
    private const int PageSize = 4096;

    // Sizes as shifts of the smallest; blocks of the first allocation, then of the second.
    private readonly byte[] _classes;
    private readonly int[] _freeOrder;
    private readonly HeldBuffer[] _held;
    private readonly int _first;
    private readonly int _freed;

    public ReturnLoad(ReturnShape shape)
    {
        var random = new SplitMix(shape.Seed);
        int most = (int)((shape.Bytes + shape.SecondBytes) / ReturnShape.SmallestBytes) + 2;
        Span<byte> drawn = new byte[most];
        _first = Draw(ref random, drawn, shape.Bytes);
        int second = Draw(ref random, drawn[_first..], shape.SecondBytes);
        _classes = Pinned<byte>(_first + second);
        drawn[..(_first + second)].CopyTo(_classes);
        _freeOrder = Pinned<int>(_first);
        for (int i = 0; i < _first; i++)
        {
            int other = random.Below(i + 1);
            _freeOrder[i] = _freeOrder[other];
            _freeOrder[other] = i;
        }

        _freed = (int)(_first * ReturnShape.FreedShare);
        _held = new HeldBuffer[_first + second];
        Array.Fill(_held, new HeldBuffer(1, null, 0));
        Array.Clear(_held);
    }

    /// <summary>Bytes held, as requested.</summary>
    public long LiveBytes { get; private set; }

    /// <summary>Sizes in the order in which they are taken, for tests.</summary>
    public int SizeOf(int block) => ReturnShape.SmallestBytes << _classes[block];

    public int Blocks => _held.Length;

    /// <summary>Blocks of the first allocation.</summary>
    public int FirstBlocks => _first;

    /// <summary>Takes and touches the first blocks; seconds.</summary>
    public double TakeFirst(BufferSource source) => Take(source, 0, _first);

    /// <summary>Takes and touches the rest; seconds.</summary>
    public double TakeSecond(BufferSource source) => Take(source, _first, _held.Length);

    /// <summary>Gives nine blocks in ten back; seconds.</summary>
    public double GiveMost(BufferSource source)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < _freed; i++)
        {
            Give(source, _freeOrder[i]);
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Gives back what is held.</summary>
    public void GiveAll(BufferSource source)
    {
        for (int block = 0; block < _held.Length; block++)
        {
            if (_held[block].Bytes > 0)
            {
                Give(source, block);
            }
        }
    }

    /// <summary>Every page of every block that is held reads as it was written: nothing was given back that was in use.</summary>
    public void Check()
    {
        for (int block = 0; block < _held.Length; block++)
        {
            Span<byte> bytes = _held[block].Bytes > 0 ? _held[block].Span : default;
            for (int offset = 0; offset < bytes.Length; offset += PageSize)
            {
                if (bytes[offset] != MarkOf(block))
                {
                    throw new MeasurementException($"block {block} of {bytes.Length} bytes lost its contents at {offset} while it was held");
                }
            }
        }
    }

    private static T[] Pinned<T>(int length) => GC.AllocateArray<T>(length, pinned: true);

    private static int Draw(ref SplitMix random, Span<byte> classes, long bytes)
    {
        int count = 0;
        for (long sum = 0; sum < bytes; count++)
        {
            classes[count] = (byte)random.Below(ReturnShape.Classes);
            sum += (long)ReturnShape.SmallestBytes << classes[count];
        }

        return count;
    }

    // Never 0, which is what a page that was dropped reads.
    private static byte MarkOf(int block) => (byte)(1 + (block % 255));

    private double Take(BufferSource source, int from, int to)
    {
        long start = Stopwatch.GetTimestamp();
        for (int block = from; block < to; block++)
        {
            int bytes = SizeOf(block);
            HeldBuffer buffer = source.Take(bytes);
            Touch(buffer.Span, MarkOf(block));
            _held[block] = buffer;
            LiveBytes += bytes;
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static void Touch(Span<byte> bytes, byte mark)
    {
        for (int offset = 0; offset < bytes.Length; offset += PageSize)
        {
            bytes[offset] = mark;
        }
    }

    private void Give(BufferSource source, int block)
    {
        LiveBytes -= _held[block].Bytes;
        source.Give(_held[block]);
        _held[block] = default;
    }
}
