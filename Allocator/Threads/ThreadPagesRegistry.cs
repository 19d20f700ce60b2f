using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>All threads' pages of one arena. Whoever drains holds no zone lock.</summary>
internal sealed class ThreadPagesRegistry(PageArena arena) : ThreadCacheRegistry<ThreadPages>(arena.Id)
{
    private readonly PageArena _arena = arena;
    private int _created;

    /// <summary>Pages that all threads keep together. A hint.</summary>
    public long Pages => Sum(static one => one.Pages);

    /// <summary>Resident bytes of bookkeeping.</summary>
    public long MetadataBytes => Sum(static one => one.ResidentBytes);

    /// <inheritdoc/>
    protected override ThreadPages Make(Thread owner) => new(_arena, owner, _arena.PreferredZone(_created++));

    /// <inheritdoc/>
    protected override void Remember(ThreadPages cache) => ThreadPages.Last = cache;

    /// <summary>Whether the oldest entry of any stack has rested. The owner may be at work: a hint. On a processor that lets a count be seen before its
    /// entry that entry is whatever was in the memory, so it is looked at only if it is a page of the arena.</summary>
    protected override unsafe bool LooksRested(ThreadPages cache)
    {
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = cache.Bin(new Order(order), (MigrateType)type);
                if (Volatile.Read(ref bin->Count) == 0)
                {
                    continue;
                }

                uint oldest = Volatile.Read(ref bin->Entries[0]);
                if (oldest < (_arena.SizeBytes >> PageblockLimits.PageShift) && _arena.IsRested(_arena.Map[new Pfn(oldest)]->FreedAt))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <inheritdoc/>
    protected override unsafe bool DrainFrozen(ThreadPages cache, bool restedOnly)
    {
        bool any = false;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = cache.Bin(new Order(order), (MigrateType)type);
                int count = restedOnly ? Rested(bin) : bin->Count;
                if (count != 0)
                {
                    BatchNote note = BatchNote.Begin(_arena.ZoneOf(new Pfn(bin->Entries[0])));
                    note.Count = count;
                    ThreadDrain.Oldest(_arena, bin, new Order(order), (MigrateType)type, count);
                    note.TellDrain(new Order(order), (MigrateType)type);
                    ThreadPagesLimits.Shrink(bin, order);
                    any = true;
                }
            }
        }

        return any;
    }

    /// <summary>The bottom of a stack has rested longest, because nothing below another entry was pushed after it.</summary>
    private unsafe int Rested(ThreadBin* bin)
    {
        int count = 0;
        while (count < bin->Count && _arena.IsRested(_arena.Map[new Pfn(bin->Entries[count])]->FreedAt))
        {
            count++;
        }

        return count;
    }
}
