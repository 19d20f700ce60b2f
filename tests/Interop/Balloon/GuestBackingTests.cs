using System;
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
}
