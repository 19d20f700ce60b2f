using System;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>The tests' own instrument, tested: a fake that fails at the wrong call proves the wrong thing.</summary>
public sealed class FaultyOperatingSystemTests
{
    [Fact]
    public void Only_the_chosen_use_fails_and_it_does_not_reach_the_kernel()
    {
        var os = new FaultyOperatingSystem();
        os.Fail(SystemCall.MapAnonymous, Errno.ENOMEM, nth: 2);
        Assert.Equal(Errno.None, os.MapAnonymous(4096, MemoryProtection.ReadWrite, out nint first));
        Assert.Equal(Errno.ENOMEM, os.MapAnonymous(4096, MemoryProtection.ReadWrite, out nint second));
        Assert.Equal(Errno.None, os.MapAnonymous(4096, MemoryProtection.ReadWrite, out nint third));
        Assert.NotEqual(0, first);
        Assert.Equal(0, second);
        Assert.Equal(3, os.Count(SystemCall.MapAnonymous));

        os.Fail(SystemCall.Unmap, Errno.EINVAL);
        Assert.Equal(Errno.EINVAL, os.Unmap(first, 4096));
        Assert.Equal(0, KernelView.ResidentPages(first, 4096));
        Assert.Equal(Errno.None, os.Unmap(first, 4096));
        Assert.Equal(Errno.None, os.Unmap(third, 4096));
    }

    [Fact]
    public void A_fault_of_one_advice_leaves_the_others_alone()
    {
        var os = new FaultyOperatingSystem();
        Assert.Equal(Errno.None, os.MapAnonymous(8192, MemoryProtection.ReadWrite, out nint address));
        os.FailAlways(SystemCall.Advise, Errno.EINVAL, MemoryAdvice.DontNeed);
        Assert.Equal(Errno.None, os.Advise(address, 8192, MemoryAdvice.NoHugePage));
        Assert.Equal(Errno.EINVAL, os.Advise(address, 8192, MemoryAdvice.DontNeed));
        Assert.Equal(Errno.EINVAL, os.Advise(address, 8192, MemoryAdvice.DontNeed));
        os.Heal();
        Assert.Equal(Errno.None, os.Advise(address, 8192, MemoryAdvice.DontNeed));
        Assert.Equal(Errno.None, os.Unmap(address, 8192));
        Assert.Equal(new RecordedCall(SystemCall.Advise, address, 8192, MemoryAdvice.DontNeed, Errno.EINVAL), os.Calls[2]);
    }

    [Fact]
    public void Two_plans_for_one_call_each_count_every_use()
    {
        var os = new FaultyOperatingSystem();
        os.Fail(SystemCall.Close, Errno.EIO, nth: 1);
        os.Fail(SystemCall.Close, Errno.EINTR, nth: 2);
        Assert.Equal(Errno.EIO, os.Close(-1));
        Assert.Equal(Errno.EINTR, os.Close(-1));
        Assert.Equal(Errno.EBADF, os.Close(-1));
    }

    [Fact]
    public void The_machine_may_be_replaced()
    {
        var os = new FaultyOperatingSystem { PhysicalMemoryBytes = 1 << 30, CgroupMemoryLimitBytes = null, NodeOfCaller = () => 3 };
        os.SetMemoryNodes(1, 3);
        Assert.Equal(1UL << 30, os.PhysicalMemoryBytes);
        Assert.Null(os.CgroupMemoryLimitBytes);
        Assert.Equal(3, os.CurrentNode);
        Assert.Equal([1, 3], os.MemoryNodes.ToArray());
        Assert.Throws<ArgumentException>(() => os.Fail(SystemCall.Close, Errno.None));
        Assert.Throws<ArgumentOutOfRangeException>(() => os.Fail(SystemCall.Close, Errno.EIO, nth: 0));
    }
}
