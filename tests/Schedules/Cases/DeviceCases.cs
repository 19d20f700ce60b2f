using System;
using System.Collections.Generic;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace Schedules;

/// <summary>A driver that opens a gate, closes it and hands its block out, twice; a host that comes early, late or twice.</summary>
internal sealed class DiscardGateCase : ScheduleCase, IGuestBacking
{
    private static readonly GuestRange[][] s_blocks = [[new GuestRange(0, 4096)], [new GuestRange(8192, 4096)]];
    private static readonly Deadline s_never = new(TimeProvider.System, System.Threading.Timeout.InfiniteTimeSpan);
    private readonly bool[] _owned = new bool[2];
    private DiscardGate _gate = null!;
    private int _inside;

    public override string Name => "discard gate";

    public override IReadOnlyList<Mutation> Mutations =>
    [
        Split("DiscardGate", "TryDiscard"), Split("DiscardGate", "TryClose"), LosePulse("Signal", "Set"),
        Own("the block is handed out before the gate is closed"),
    ];

    public ulong Bytes => 1 << 20;

    public bool LeavesZero => true;

    public override void SetUp()
    {
        _gate = new DiscardGate(this, 1);
        _owned[0] = _owned[1] = true;
        _inside = 0;
        Go("driver", () =>
        {
            for (int i = 0; i < 2; i++)
            {
                _owned[i] = false;
                Require(_gate.TryOpen(s_blocks[i]), "a gate that was closed opens");
                _owned[i] = Mutation.Omits("the block is handed out before the gate is closed");
                Require(_gate.TryClose(s_never), "closing waits for a call under way");
                _owned[i] = true;
            }
        });
        Go("host", () => Drop(0));
        Go("late host", () =>
        {
            Drop(1);
            Drop(0);
        });
    }

    public override void Check()
    {
        DiscardTotals totals = default;
        Require(_gate.TryDiscard(s_blocks[1], ref totals) == 0, "nothing goes through a closed gate");
    }

    public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
    {
        int block = ranges[0].Address == 0 ? 0 : 1;
        Require(_inside++ == 0, "two calls at once");
        Require(!_owned[block], "memory that has an owner is dropped");
        Seam.Point("the system's call");
        Require(!_owned[block], "memory that has got an owner is dropped");
        _inside--;
        dropped[0] = ranges[0].Bytes;
        return Errno.None;
    }

    private void Drop(int block)
    {
        DiscardTotals totals = default;
        _gate.TryDiscard(s_blocks[block], ref totals);
    }
}

/// <summary>Two change different pageblocks whose bits share a word.</summary>
internal sealed class WordCase : ScheduleCase
{
    private readonly ulong[] _word = GC.AllocateArray<ulong>(1, pinned: true);

    public override string Name => "atomic word";

    public override int Preemptions => 8;

    public override IReadOnlyList<Mutation> Mutations => [Split("AtomicWord", "Update")];

    public override void SetUp()
    {
        _word[0] = 0;
        Go("low", () => Count(1));
        Go("high", () => Count(1ul << 32));
        Go("middle", () => Count(1ul << 16));
    }

    public override void Check() => Require(_word[0] == 0x2_0002_0002, $"two steps of each, not {_word[0]:x}");

    private void Count(ulong by)
    {
        AtomicWord.Update(ref _word[0], new Plus(by));
        AtomicWord.Update(ref _word[0], new Plus(by));
    }

    private readonly struct Plus(ulong by) : ITransition
    {
        public ulong Next(ulong value) => value + by;
    }
}
