using System;
using System.Globalization;
using System.Text;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Properties;

internal sealed partial class ArenaModel
{
    /// <summary>One thread, so each figure is exact: allocated is the model's, and all kinds together are the arena.</summary>
    private void CheckSums()
    {
        ArenaStatistics now = _arena.GetStatistics();
        Assert.Equal(LivePages << PageShift, now.AllocatedBytes);
        long sum = now.UnreachedBytes + now.AllocatedBytes + now.ThreadPagesBytes + now.RawBytes + now.TreatedBytes
            + now.InReactorBytes + now.IsolatedBytes + now.InflatedBytes + now.QuarantinedBytes + now.HeldBackBytes;
        if (sum != now.ReservedBytes)
        {
            Assert.Fail($"the kinds add up to {sum} and not to {now.ReservedBytes}: {Picture(now)}");
        }

        long free = 0;
        foreach (FreeBlocks blocks in now.Free)
        {
            free += (blocks.Raw + blocks.Treated) << (blocks.Order + PageShift);
        }

        Assert.Equal(free, now.RawBytes + now.TreatedBytes + now.IsolatedBytes);
        Assert.Equal(0, now.InReactorBytes);
        Assert.True(_setup.DebugChecks || now.HeldBackBytes == 0, $"{now.HeldBackBytes} bytes are held back without debug mode");
        Assert.Equal(_setup.ThreadPages ? now.ThreadPagesBytes : 0, now.ThreadPagesBytes);
        Assert.Equal(InflatedPages << PageShift, now.InflatedBytes);
        (ulong taken, ulong cap) = _arena.Budget.Read();
        Assert.Equal((ulong)((now.AllocatedBytes + now.ThreadPagesBytes + now.InflatedBytes + now.HeldBackBytes) >> PageShift), taken);
        Assert.True(cap == _cap || (cap > _cap && cap == taken), $"the cap is {cap}, set to {_cap}, with {taken} taken");
        Assert.Equal(_balloon?.PagesTreated ?? 0, now.PagesTreated);
    }

    /// <summary>What is taken, without a snapshot, which asks the kernel.</summary>
    private void CheckTaken()
    {
        (ulong taken, ulong cap) = _arena.Budget.Read();
        ulong heldBack = _arena.Debug?.Quarantine?.Pages ?? 0;
        Assert.Equal((ulong)(LivePages + InflatedPages + _arena.Threads.Sum(static pages => pages.Pages)) + heldBack, taken);
        Assert.True(cap == _cap || (cap > _cap && cap == taken), $"the cap is {cap}, set to {_cap}, with {taken} taken");
    }

    /// <summary>What a step that changes nothing leaves as it is; in a long run without what only the kernel knows.</summary>
    private string Now()
    {
        if (!_isLight)
        {
            return Picture(_arena.GetStatistics() with { MetadataBytes = 0, ResidentBytes = 0 });
        }

        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"{_arena.Budget.Read()} {_arena.Threads.Sum(static pages => pages.Pages)}");
        foreach (Zone zone in _arena.Zones)
        {
            text.Append(CultureInfo.InvariantCulture, $" {zone.FreePages} free, {zone.UnreachedPages} unreached, {zone.InReactorPages} there;");
        }

        return text.ToString();
    }

    private void CheckSomeContents(int drawn)
    {
        if (_live.Count != 0)
        {
            _live[drawn % _live.Count].Check(_arena);
        }
    }

    /// <summary>After a refusal there must have been a reason: the threads' pages and the reserve were given up before it, so some
    /// block that is large enough may be free only where cap or watermark forbid it.</summary>
    private void CheckRefusal(int order, AllocationFlags flags)
    {
        ulong pages = 1ul << order;
        AllocFlags alloc = (flags & AllocationFlags.Atomic) != 0 ? AllocFlags.Harder | AllocFlags.High : default;
        if (_arena.Budget.TakenPages + pages + Watermarks.Floor(_arena.Plan.Marks.Min, alloc) > _arena.Budget.CapPages)
        {
            return;
        }

        foreach (Zone zone in _arena.Zones)
        {
            ulong floor = Watermarks.Floor(zone.Watermark(WatermarkLevel.Min), alloc);
            bool allowed = zone.FreePages + zone.UnreachedPages >= pages + floor;
            Assert.False(allowed && HasBlock(zone, order), $"order {order} ({flags}) was refused although zone {zone.Number} has one: {Picture(_arena.GetStatistics())}");
        }
    }

    private static bool HasBlock(Zone zone, int order)
    {
        bool has = zone.UnreachedPages >= PageblockLimits.PagesPerMaxBlock;
        for (int o = order; o <= PageblockLimits.MaxOrder; o++)
        {
            FreeArea area = zone.Area(new Order(o));
            has |= !area.IsEmpty(MigrateType.Unmovable) || !area.IsEmpty(MigrateType.Movable) || !area.IsEmpty(MigrateType.Reclaimable);
        }

        return has;
    }

    /// <summary>A long range is refused only where no run of free pageblocks has its length, or the cap forbids it.</summary>
    private void CheckRangeRefusal(ulong pages, AllocationFlags flags)
    {
        AllocFlags alloc = (flags & AllocationFlags.Atomic) != 0 ? AllocFlags.Harder | AllocFlags.High : default;
        ulong blocks = (pages + PageblockLimits.PagesPerPageblock - 1) / PageblockLimits.PagesPerPageblock;
        ulong taken = _arena.Budget.TakenPages + (blocks * PageblockLimits.PagesPerPageblock);
        if (taken + Watermarks.Floor(_arena.Plan.Marks.Min, alloc) > _arena.Budget.CapPages)
        {
            return;
        }

        foreach (Zone zone in _arena.Zones)
        {
            ulong run = 0;
            for (uint block = zone.Start.Pageblock; block < zone.ReachedPfn / PageblockLimits.PagesPerPageblock; block++)
            {
                run = zone.LooksFree(block) ? run + 1 : 0;
                Assert.True(run < blocks, $"{pages} pages ({flags}) were refused although pageblocks up to {block} are free");
            }
        }
    }

    /// <summary>With a healthy device nothing stays raw from the least order on that may leave the zone (house rule 11).</summary>
    private void Trim()
    {
        _arena.Trim();
        if (_balloon is null || !_arena.Aerator.IsRunning || _balloon.Answer > DeviceAnswer.Treated)
        {
            return;
        }

        ArenaStatistics now = _arena.GetStatistics();
        Assert.Equal(0, now.QuarantinedBytes);
        Assert.Equal(0, now.ThreadPagesBytes);
        foreach (Zone zone in _arena.Zones)
        {
            for (int order = _arena.Plan.MinimumOrder.Value; order <= PageblockLimits.MaxOrder; order++)
            {
                FreeArea area = zone.Area(new Order(order));
                bool mayLeave = zone.FreePages + zone.UnreachedPages >= zone.Watermark(WatermarkLevel.Min) + (1ul << order);
                long raw = (long)area.Raw - area.RawOf(MigrateType.Isolate);
                Assert.True(raw == 0 || !mayLeave, $"{raw} blocks of order {order} are raw in zone {zone.Number} after Trim");
            }
        }
    }

    /// <summary>Everything that a snapshot says, as text that can be compared.</summary>
    private static string Picture(ArenaStatistics now)
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"{now with { Free = [] }}");
        foreach (FreeBlocks free in now.Free)
        {
            text.Append(CultureInfo.InvariantCulture, $" {free.Type} order {free.Order}: {free.Raw} + {free.Treated};");
        }

        return text.ToString();
    }
}
