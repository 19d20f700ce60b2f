using System;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Properties;

internal sealed partial class ArenaModel
{
    /// <summary>How many blocks became longer, shorter, and could not become longer.</summary>
    public (int Longer, int Shorter, int Refused) Resizes { get; private set; }

    /// <summary>A block or range becomes longer or shorter where it lies: what stays keeps its contents, what is added was nobody's.</summary>
    private unsafe void Resize(ArenaOperation operation)
    {
        if (_live.Count == 0)
        {
            return;
        }

        int index = operation.A % _live.Count;
        Block block = _live[index];
        block.Check(_arena);
        uint pages = 1 + (uint)(operation.B % (int)(2 * block.Pages + (operation.B % 3 == 0 ? 1500u : 4u)));
        AllocationFlags flags = ArenaSetup.FlagsOf(operation.C);
        if (pages < block.Pages)
        {
            // Before: what is cut off may go to the device within the call.
            Array.Clear(_owner, (int)(block.Start.Value + pages), (int)(block.Pages - pages));
        }

        if (!_arena.TryResize(block.Address(_arena), ((nuint)pages << PageShift) - (nuint)(operation.C % 4096), flags))
        {
            Assert.True(pages > block.Pages, $"{block} could not become {pages} pages long");
            Resizes = Resizes with { Refused = Resizes.Refused + 1 };
            return;
        }

        (block with { Pages = Math.Min(pages, block.Pages) }).Check(_arena);
        Block resized = block with { Pages = pages };
        for (uint added = block.Pages; added < pages; added++)
        {
            CheckAdded(resized, block.Start + added, flags);
        }

        Array.Fill(_owner, resized, (int)block.Start.Value, (int)pages);
        resized.Write(_arena);
        _live[index] = resized;
        LivePages += (long)pages - block.Pages;
        Resizes = pages > block.Pages
            ? Resizes with { Longer = Resizes.Longer + 1 }
            : Resizes with { Shorter = Resizes.Shorter + (pages < block.Pages ? 1 : 0) };
    }

    private unsafe void CheckAdded(Block block, Pfn page, AllocationFlags flags)
    {
        Assert.True(page.Value < (uint)_owner.Length && _owner[page.Value] is null, $"{block} took page {page}, which is somebody's");
        Assert.False(_isolated.Contains(page.Pageblock), $"{block} took {page} of pageblock {page.Pageblock}, which is isolated");
        ReadOnlySpan<byte> bytes = new(_arena.BaseAddress + page.ByteOffset, PageblockLimits.PageSize);
        Assert.True((flags & AllocationFlags.Zeroed) == 0 || bytes.IndexOfAnyExcept((byte)0) < 0, $"{page}, added to {block}, was to read zero");
    }
}
