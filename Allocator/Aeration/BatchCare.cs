using System.Collections.Generic;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What is done around the dropping of a batch, while the reactor has its blocks, so that the cgroup's charge falls with RSS and
/// struct pages that nobody needs go too. Used by the holder of the treatment lock.</summary>
internal sealed class BatchCare(PageblockBacking backing)
{
    private List<Pfn> _again = [];
    private List<Pfn> _before = [];

    /// <summary>Before the device is told: no huge page may come back where a part of one goes.</summary>
    public void BeforeDrop(Batch batch)
    {
        foreach (Batch.Division part in batch.Divisions)
        {
            backing.Divide(part.Zone, part.Block);
        }
    }

    /// <summary>After the device has dropped it: the rests of huge pages are split, whole pageblocks may be huge again, and struct pages inside
    /// the blocks are dropped.</summary>
    public void AfterDrop(Batch batch)
    {
        foreach (Batch.Division part in batch.Divisions)
        {
            if (part.Resident is Pfn resident)
            {
                backing.Split(resident);
                _again.Add(resident);
            }
        }

        foreach (Batch.Entry entry in batch.Entries)
        {
            if (entry.Order >= Order.Pageblock)
            {
                backing.Restore(entry.Zone, entry.Pfn, entry.Order);
            }
            else
            {
                backing.DropStructPages(entry.Pfn, entry.Order.Pages);
            }
        }
    }

    /// <summary>At the start of a pass: splits once more what the last two passes have split. A split fails while somebody holds the page for
    /// a moment (a processor's list of pages on their way to the LRU, for one), and the kernel does not say so; of a page that is small
    /// already it costs half a microsecond.</summary>
    public void SplitAgain()
    {
        SplitAll(_before);
        SplitAll(_again);
        _before.Clear();
        (_before, _again) = (_again, _before);
    }

    // A loop and not ForEach, whose delegate would be garbage of each pass.
    private void SplitAll(List<Pfn> pageblocks)
    {
        foreach (Pfn pageblock in pageblocks)
        {
            backing.Split(pageblock);
        }
    }
}
