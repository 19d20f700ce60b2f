using System.Numerics;
using System.Runtime.InteropServices;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>One side's place in a <see cref="PeerRing{TBlock}"/>, on cache lines of its own.</summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal struct PeerRingSide
{
    /// <summary>Blocks that this side has pushed or popped. Written by this side, read by the other.</summary>
    [FieldOffset(64)]
    public long Own;

    /// <summary>What this side last read of the other's count: most calls need not look again.</summary>
    [FieldOffset(72)]
    public long Seen;
}

/// <summary>A bounded queue with one writer and one reader, as cheap as such a thing can be, so that what is timed is the contestant.</summary>
/// <param name="slots">A power of two.</param>
internal sealed class PeerRing<TBlock>(int slots)
    where TBlock : struct
{
    private readonly TBlock[] _slots = new TBlock[BitOperations.IsPow2(slots) ? slots : throw new MeasurementException($"{slots} slots are no power of two")];
    private PeerRingSide _writer;
    private PeerRingSide _reader;
    private volatile bool _abandoned;

    /// <summary>Pushed and not yet popped.</summary>
    public long Count => Volatile.Read(ref _writer.Own) - Volatile.Read(ref _reader.Own);

    /// <summary>One side has failed: the other is not to wait for it.</summary>
    public void Abandon() => _abandoned = true;

    /// <summary>Waits while the ring is full. The writer's thread only.</summary>
    public void Push(TBlock block)
    {
        long at = _writer.Own;
        if (at - _writer.Seen >= _slots.Length)
        {
            _writer.Seen = Await(ref _reader.Own, at - _slots.Length + 1);
        }

        _slots[(int)at & (_slots.Length - 1)] = block;
        Volatile.Write(ref _writer.Own, at + 1);
    }

    /// <summary>Waits while the ring is empty. The reader's thread only.</summary>
    public TBlock Pop()
    {
        long at = _reader.Own;
        if (at >= _reader.Seen)
        {
            _reader.Seen = Await(ref _writer.Own, at + 1);
        }

        ref TBlock slot = ref _slots[(int)at & (_slots.Length - 1)];
        TBlock block = slot;
        slot = default;
        Volatile.Write(ref _reader.Own, at + 1);
        return block;
    }

    private long Await(ref long count, long least)
    {
        var wait = default(SpinWait);
        long seen;
        while ((seen = Volatile.Read(ref count)) < least)
        {
            if (_abandoned)
            {
                throw new MeasurementException("the thread at the other end of the ring has failed");
            }

            wait.SpinOnce(sleep1Threshold: -1);
        }

        return seen;
    }
}
