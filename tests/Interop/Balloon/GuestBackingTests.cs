using System;
using System.Linq;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

public sealed class GuestBackingTests
{
    private const int Bytes = 1 << 20;

    [Theory]
    [InlineData(Errno.EINTR)]
    [InlineData(Errno.EAGAIN)]
    public void A_call_that_a_signal_ended_is_made_again(Errno passing)
    {
        FaultyOperatingSystem os = new();
        Assert.Equal(Errno.None, os.MapAnonymous(Bytes, MemoryProtection.ReadWrite, out nint arena));
        os.Fail(SystemCall.Advise, passing, times: 3);
        GuestBacking backing = GuestBacking.Anonymous(os, arena, Bytes, DiscardMethod.DontNeed);
        Assert.Equal(Errno.None, backing.Discard([new(4096, 8192)], new ulong[1]));
        Assert.Equal(4, os.Count(SystemCall.Advise));
        Assert.Equal(new RecordedCall(SystemCall.Advise, arena + 4096, 8192, MemoryAdvice.DontNeed, Errno.None), os.Calls[^1]);
        os.Unmap(arena, Bytes);
    }

    [Fact]
    public void A_call_that_never_gets_through_is_given_up()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.Advise, Errno.EINTR);
        Assert.Equal(Errno.EINTR, GuestBacking.Anonymous(os, 1 << 20, Bytes, DiscardMethod.Free).Discard([new(0, 4096)], new ulong[1]));
        Assert.Equal(GuestBacking.AttemptsMax, os.Count(SystemCall.Advise));
    }

    [Fact]
    public void A_real_error_is_not_repeated()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.PunchHole, Errno.ENOSPC);
        Assert.Equal(Errno.ENOSPC, GuestBacking.Memfd(os, 1000, Bytes).Discard([new(4096, 4096)], new ulong[1]));
        Assert.Equal(1, os.Count(SystemCall.PunchHole));
    }

    [Fact]
    public void Each_method_makes_its_own_call_and_only_free_leaves_the_old_contents()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.Advise, Errno.EINVAL);
        GuestBacking free = GuestBacking.Anonymous(os, 1 << 20, Bytes, DiscardMethod.Free);
        free.Discard([new(0, 4096)], new ulong[1]);
        Assert.Equal(MemoryAdvice.Free, os.Calls[^1].Advice);
        Assert.False(free.LeavesZero);
        Assert.True(GuestBacking.Anonymous(os, 1 << 20, Bytes, DiscardMethod.DontNeed).LeavesZero);
        Assert.True(GuestBacking.Memfd(os, 3, Bytes).LeavesZero);
        Assert.Throws<ArgumentOutOfRangeException>(() => GuestBacking.Anonymous(os, 1 << 20, Bytes, DiscardMethod.PunchHole));
    }

    [Fact]
    public void Many_ranges_are_one_call_and_everything_else_stays_as_it_was()
    {
        using Mapping m = new(100);
        GuestBacking backing = m.Backing();
        Assert.True(backing.TakesMany, "this kernel, or the container, does not let a process advise itself");
        m.Os.Vectors.Clear();
        ulong[] dropped = new ulong[40];
        Assert.Equal(Errno.None, backing.Discard(m.EverySecondPage(40), dropped));
        Assert.Equal([32, 8], m.Os.Vectors.Select(vector => vector.Length));
        Assert.Equal(0, m.Os.Count(SystemCall.Advise));
        Assert.All(dropped, bytes => Assert.Equal(4096ul, bytes));
        Assert.All(Enumerable.Range(0, 100), page => Assert.Equal(page % 2 == 0 && page < 80, m.IsZero(page)));
    }

    [Theory]
    [InlineData(Errno.EINVAL)]
    [InlineData(Errno.EPERM)]
    [InlineData(Errno.ENOSYS)]
    public void Where_the_kernel_does_not_take_many_ranges_each_has_a_call_of_its_own(Errno refusal)
    {
        using Mapping m = new(100);
        m.Os.FailAlways(SystemCall.AdviseMany, refusal);
        GuestBacking backing = m.Backing();
        Assert.False(backing.TakesMany);
        Assert.Equal(1, m.Os.Count(SystemCall.AdviseMany));
        Assert.Equal(Errno.None, backing.Discard(m.EverySecondPage(40), new ulong[40]));
        Assert.Equal((1, 40), (m.Os.Count(SystemCall.AdviseMany), m.Os.Count(SystemCall.Advise)));
        Assert.All(Enumerable.Range(0, 100), page => Assert.Equal(page % 2 == 0 && page < 80, m.IsZero(page)));
    }

    [Fact]
    public void A_kernel_that_does_only_a_part_of_the_probe_is_not_trusted_with_many_ranges()
    {
        using Mapping m = new(4);
        m.Os.AdvisedBytesMax = 4096;
        Assert.False(m.Backing().TakesMany);
    }

    [Fact]
    public void A_filter_that_comes_later_turns_the_one_call_off_and_loses_nothing()
    {
        using Mapping m = new(100);
        GuestBacking backing = m.Backing();
        m.Os.FailAlways(SystemCall.AdviseMany, Errno.EPERM);
        int before = m.Os.Count(SystemCall.AdviseMany);
        ulong[] dropped = new ulong[40];
        Assert.Equal(Errno.None, backing.Discard(m.EverySecondPage(40), dropped));
        Assert.Equal((before + 1, 40), (m.Os.Count(SystemCall.AdviseMany), m.Os.Count(SystemCall.Advise)));
        Assert.False(backing.TakesMany);
        Assert.All(dropped, bytes => Assert.Equal(4096ul, bytes));
    }

    /// <summary>The call stops after so many bytes, in the middle of ranges too; what is left is done, and nothing twice.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(64)]
    public void A_partial_result_is_gone_on_with_behind_what_was_done(int pagesAtOnce)
    {
        using Mapping m = new(200);
        GuestBacking backing = m.Backing();
        m.Os.AdvisedBytesMax = (nuint)pagesAtOnce * 4096;
        GuestRange[] ranges = [.. Enumerable.Range(0, 40).Select(i => new GuestRange((ulong)(5 * i) * 4096, 3 * 4096))];
        ulong[] dropped = new ulong[40];
        Assert.Equal(Errno.None, backing.Discard(ranges, dropped));
        Assert.All(dropped, bytes => Assert.Equal(3ul * 4096, bytes));
        Assert.All(Enumerable.Range(0, 200), page => Assert.Equal(page % 5 < 3, m.IsZero(page)));
    }

    [Fact]
    public void A_range_that_fails_keeps_none_of_the_others_and_is_told_exactly()
    {
        using Mapping m = new(100);
        GuestBacking backing = m.Backing();
        m.Os.Unmap(m.Start + (20 * 4096), 4096); // page 20 is the eleventh range
        ulong[] dropped = new ulong[40];
        Assert.Equal(Errno.ENOMEM, backing.Discard(m.EverySecondPage(40), dropped));
        Assert.All(dropped.Index(), d => Assert.Equal(d.Index == 10 ? 0ul : 4096ul, d.Item));
        Assert.All(Enumerable.Range(0, 100).Where(page => page != 20), page => Assert.Equal(page % 2 == 0 && page < 80, m.IsZero(page)));
    }

    [Fact]
    public void A_signal_in_the_middle_is_no_failure_and_an_endless_one_is_given_up()
    {
        using Mapping m = new(100);
        GuestBacking backing = m.Backing();
        m.Os.Fail(SystemCall.AdviseMany, Errno.EINTR, times: 5);
        Assert.Equal(Errno.None, backing.Discard(m.EverySecondPage(10), new ulong[10]));
        Assert.Equal(0, m.Os.Count(SystemCall.Advise));

        m.Os.FailAlways(SystemCall.AdviseMany, Errno.EAGAIN);
        m.Os.FailAlways(SystemCall.Advise, Errno.EAGAIN);
        int before = m.Os.Count(SystemCall.AdviseMany);
        ulong[] dropped = new ulong[2];
        Assert.Equal(Errno.EAGAIN, backing.Discard(m.EverySecondPage(2), dropped));
        Assert.Equal([0ul, 0ul], dropped);
        Assert.InRange(m.Os.Count(SystemCall.AdviseMany) - before, 1, 2 * GuestBacking.AttemptsMax);
        Assert.InRange(m.Os.Count(SystemCall.Advise), 1, 2 * GuestBacking.AttemptsMax);
    }

    [Fact]
    public void Holes_in_a_memfd_are_one_call_each()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.PunchHole, Errno.ENOSPC);
        ulong[] dropped = [1, 1];
        Assert.Equal(Errno.ENOSPC, GuestBacking.Memfd(os, 1000, Bytes).Discard([new(0, 4096), new(8192, 4096)], dropped));
        Assert.Equal([0ul, 0ul], dropped);
        Assert.Equal((2, 0), (os.Count(SystemCall.PunchHole), os.Count(SystemCall.AdviseMany)));
    }

    /// <summary>Pages of real memory, none of them zero, through an operating system that can fail.</summary>
    private sealed class Mapping : IDisposable
    {
        private readonly nuint _bytes;

        public unsafe Mapping(int pages)
        {
            _bytes = (nuint)pages * 4096;
            Assert.Equal(Errno.None, Os.MapAnonymous(_bytes, MemoryProtection.ReadWrite, out nint start));
            Start = start;
            for (int page = 0; page < pages; page++)
            {
                ((byte*)start)[page * 4096] = 1;
            }
        }

        public FaultyOperatingSystem Os { get; } = new();

        public nint Start { get; }

        public GuestBacking Backing() => GuestBacking.Anonymous(Os, Start, _bytes, DiscardMethod.DontNeed);

        public GuestRange[] EverySecondPage(int count) => [.. Enumerable.Range(0, count).Select(i => new GuestRange((ulong)i * 8192, 4096))];

        public unsafe bool IsZero(int page) => ((byte*)Start)[page * 4096] == 0;

        public void Dispose()
        {
            Os.Heal();
            Os.Unmap(Start, _bytes);
        }
    }
}
