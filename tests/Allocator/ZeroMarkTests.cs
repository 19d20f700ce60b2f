using System;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Properties;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>The second mark: where it comes from, what it saves, where it ends. (That zeroed blocks read zero whatever happened to them
/// is the model test's.)</summary>
public sealed class ZeroMarkTests
{
    [Fact]
    public void A_block_that_this_process_dropped_is_not_written_again()
    {
        using ArenaProbe probe = Treated(DeviceAnswer.TreatedZero);
        Assert.Equal(0, Resident(probe));
        Assert.Equal(0u, probe.Take(10, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(0, Resident(probe));
    }

    [Fact]
    public unsafe void A_block_that_a_host_says_it_has_treated_is_written()
    {
        using ArenaProbe probe = Treated(DeviceAnswer.Treated);
        Assert.NotEqual(0ul, ((ulong*)probe.AddressOf(0))[1]); // what the host left there
        Assert.Equal(0u, probe.Take(10, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(-1, new ReadOnlySpan<byte>(probe.AddressOf(0), 4 << 20).IndexOfAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(nameof(DeviceAnswer.Treated))]
    [InlineData(nameof(DeviceAnswer.Failed))]
    [InlineData(nameof(DeviceAnswer.TimedOutRevoked))]
    public unsafe void Pages_never_used_are_zero_no_longer_once_a_host_has_had_them(string answer)
    {
        using ArenaProbe probe = new(4, o => (o.Aeration.Enabled, o.Aeration.MinimumOrder) = (true, 9));
        probe.Take(9); // the other half is free and was never used
        probe.Balloon!.Answer = Enum.Parse<DeviceAnswer>(answer);
        probe.Arena.Trim();
        Assert.Equal(512u, probe.Take(9, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(-1, new ReadOnlySpan<byte>(probe.AddressOf(512), 2 << 20).IndexOfAnyExcept((byte)0));
    }

    [Fact]
    public unsafe void The_mark_survives_a_split_and_ends_at_hand_out()
    {
        using ArenaProbe probe = Treated(DeviceAnswer.TreatedZero);
        uint[] halves = [probe.Take(9, MigrateType.Unmovable, AllocationFlags.Zeroed), probe.Take(8, MigrateType.Unmovable, AllocationFlags.Zeroed)];
        Assert.Equal(0, Resident(probe));
        *(byte*)probe.AddressOf(halves[1]) = 3;
        probe.Free(halves[1]);
        Assert.Equal(512u, probe.Take(9, MigrateType.Unmovable, AllocationFlags.Zeroed)); // merged of one half that has it and one that has not
        Assert.Equal(-1, new ReadOnlySpan<byte>(probe.AddressOf(512), 2 << 20).IndexOfAnyExcept((byte)0));
        Assert.Equal(512, Resident(probe));
    }

    [Fact]
    public unsafe void It_lasts_in_a_thread_s_pages_until_the_block_was_given_out()
    {
        using ArenaProbe probe = new(4, o => o.ThreadPages = true);
        uint first = probe.Take(3, MigrateType.Unmovable, AllocationFlags.Zeroed);
        uint second = probe.Take(3, MigrateType.Unmovable, AllocationFlags.Zeroed);
        Assert.Equal(0, Resident(probe));
        new Span<byte>(probe.AddressOf(second), 4096).Fill(1);
        probe.Free(second);
        Assert.Equal(second, probe.Take(3, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(8, Resident(probe));
        Assert.NotEqual(first, second);
    }

    /// <summary>One order-10 block, written everywhere, freed and treated.</summary>
    private static unsafe ArenaProbe Treated(DeviceAnswer answer)
    {
        ArenaProbe probe = new(4, o => o.Aeration.Enabled = true);
        uint block = probe.Take(10);
        new Span<byte>(probe.AddressOf(block), 4 << 20).Fill(0xff);
        probe.Free(block);
        probe.Balloon!.Answer = answer;
        probe.Arena.Trim();
        probe.Expect("U10:0*");
        return probe;
    }

    private static unsafe long Resident(ArenaProbe probe) => KernelView.ResidentPages((nint)probe.Arena.BaseAddress, probe.Arena.SizeBytes);
}
