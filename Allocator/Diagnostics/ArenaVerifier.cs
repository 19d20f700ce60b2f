using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Recomputes every equation of an arena from its struct pages and lists. The caller has frozen the threads' pages and holds
/// every zone lock. Throws at the first equation that does not hold.</summary>
internal static class ArenaVerifier
{
    /// <summary>All zones, then what binds them to the threads' pages and the budget.</summary>
    public static void Verify(PageArena arena, IReadOnlyList<ThreadPages> threads)
    {
        ulong outside = 0;
        ulong cached = 0;
        foreach (Zone zone in arena.Zones)
        {
            ZoneTally tally = new ZoneWalk(arena, zone).Run();
            VerifyLists(arena, zone);
            VerifyCounters(zone, tally);
            VerifyPageblocks(arena, zone);
            outside += tally.User + tally.Cached + tally.Inflated;
            cached += tally.Cached;
        }

        ulong inBins = 0;
        foreach (ThreadPages pages in threads)
        {
            inBins += VerifyThread(arena, pages);
        }

        Require(cached == inBins, "pages whose head says Cached == pages in threads' stacks", cached, inBins);
        (ulong taken, ulong cap) = arena.Budget.Read();
        Require(taken >= outside, "budget taken >= pages with users, threads and balloon", taken, outside);
        Require(taken <= cap, "budget taken <= cap", taken, cap);
        arena.Debug?.Quarantine?.Verify(arena.Map);
        arena.Outside.Verify((nuint)arena.Memory.Base, arena.SizeBytes);
    }

    private static void VerifyCounters(Zone zone, ZoneTally tally)
    {
        ulong onLists = 0;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            FreeArea area = zone.Area(new Order(order));
            onLists += (area.Raw + area.Treated) << order;
        }

        Require(onLists == tally.Free, "sum of (raw + treated) * 2^order == pages whose head says Buddy", onLists, tally.Free);
        Require(zone.FreePages + zone.IsolatedPages == onLists, "free + isolated == pages on lists", zone.FreePages + zone.IsolatedPages, onLists);
        Require(zone.IsolatedPages == tally.FreeOnIsolate, "isolated == pages on Isolate's lists", zone.IsolatedPages, tally.FreeOnIsolate);
        Require(zone.InReactorPages == tally.InReactor, "in reactor == pages whose head says InReactor", zone.InReactorPages, tally.InReactor);
        Require(zone.QuarantinedPages == tally.Quarantined, "quarantined == pages whose head says Quarantined", zone.QuarantinedPages, tally.Quarantined);
        Require(zone.InflatedPages == tally.Inflated, "inflated == pages whose head says Inflated", zone.InflatedPages, tally.Inflated);
        (ulong blocks, ulong counted) = (zone.IsolatedPageblocks, tally.IsolatedPageblocks);
        Require(blocks == counted, "isolated pageblocks == pageblocks of type Isolate", blocks, counted);
        Require(zone.HighAtomicPages == tally.HighAtomicPages, "reserved == pages in pageblocks of type HighAtomic", zone.HighAtomicPages, tally.HighAtomicPages);
        ulong owned = tally.Free + tally.InReactor + tally.Quarantined + tally.Inflated + tally.User + tally.Cached + zone.UnreachedPages;
        Require(owned == zone.SpannedPages, "every page has exactly one owner", owned, zone.SpannedPages);
    }

    /// <summary>Treatment finds mixed pageblocks by their count of raw pages. A pageblock may begin or go on inside a larger block.</summary>
    private static unsafe void VerifyPageblocks(PageArena arena, Zone zone)
    {
        uint end = (uint)(zone.ReachedPfn >> PageblockLimits.PageblockOrder);
        for (uint block = zone.Start.Pageblock; block < end; block++)
        {
            ulong raw = 0;
            Page* first = arena.Map[Pfn.FromPageblock(block)];
            for (uint at = 0; at < PageblockLimits.PagesPerPageblock;)
            {
                Page* page = first + at;
                uint pages = page->State == 0 ? 1 : PageMap.PagesOf(page);
                bool isSmall = page->State != 0 && page->State != PageState.User && page->Private < (ulong)PageblockLimits.PageblockOrder;
                raw += isSmall && page->PageType.IsBuddy && !page->PageType.IsTreated ? pages : 0;
                at += pages;
            }

            ulong counted = arena.Map.Block(block)->Raw;
            Require(counted == raw, $"raw of pageblock {block} == pages of its raw blocks below order 9", counted, raw);
        }
    }

    private static unsafe void VerifyLists(PageArena arena, Zone zone)
    {
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            FreeArea area = zone.Area(new Order(order));
            long raw = 0;
            long treated = 0;
            for (int type = 0; type < MigrateTypes.Count; type++)
            {
                (long rawHere, long treatedHere) = VerifyList(arena, zone, new Order(order), (MigrateType)type);
                Require(area.RawOf((MigrateType)type) == rawHere, "raw_of == blocks above the membrane", (ulong)area.RawOf((MigrateType)type), (ulong)rawHere);
                ulong told = (ulong)area.TreatedOf((MigrateType)type);
                Require(told == (ulong)treatedHere, "treated_of == blocks below the membrane", told, (ulong)treatedHere);
                raw += rawHere;
                treated += treatedHere;
            }

            Require((long)area.Raw == raw, "raw == blocks without Treated", area.Raw, (ulong)raw);
            Require((long)area.Treated == treated, "treated == blocks with Treated", area.Treated, (ulong)treated);
        }
    }

    /// <summary>list = raw* membrane treated*, each node a head of this order that knows its list.</summary>
    private static unsafe (long Raw, long Treated) VerifyList(PageArena arena, Zone zone, Order order, MigrateType type)
    {
        ListHead* list = zone.Area(order).List(type);
        ListHead* membrane = *zone.Area(order).MembraneOf(type);
        ListHead* before = list;
        bool below = false;
        long raw = 0;
        long treated = 0;
        for (ListHead* node = list->Next; node != list; node = node->Next)
        {
            Page* head = PageMap.PageOf(node);
            Pfn pfn = arena.Map.PfnOf(head);
            below |= node == membrane;
            Require(node->Prev == before, $"list links of {pfn} agree", (ulong)node->Prev, (ulong)before);
            before = node;
            Require(head->PageType.IsBuddy, $"{pfn} on a free list says Buddy", head->PageType.Value, 0);
            Require(head->Private == (ulong)order.Value, $"{pfn} has the order of its list", head->Private, (ulong)order.Value);
            Require(head->Index == (ulong)type, $"{pfn} knows the type of its list", head->Index, (ulong)type);
            bool fits = head->PageType.IsTreated == below;
            Require(fits, $"{pfn} (order {order.Value}, {type}) is treated exactly below the membrane", head->PageType.Value, below ? 1u : 0u);
            treated += below ? 1 : 0;
            raw += below ? 0 : 1;
        }

        Require(list->Prev == before, "a list ends where its head says", (ulong)list->Prev, (ulong)before);
        Require(below || membrane == list, "the membrane is a node of its list or its head", (ulong)membrane, (ulong)list);
        return (raw, treated);
    }

    private static unsafe ulong VerifyThread(PageArena arena, ThreadPages pages)
    {
        ulong sum = 0;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = pages.Bin(new Order(order), (MigrateType)type);
                Require(bin->Count >= 0 && bin->Count <= bin->High, "0 <= entries <= high", (ulong)bin->Count, (ulong)bin->High);
                Require(bin->Batch <= bin->High, "batch <= high", (ulong)bin->Batch, (ulong)bin->High);
                Require(bin->High <= ThreadPagesLimits.MaxHigh(order), "high <= a stack's room", (ulong)bin->High, (ulong)ThreadPagesLimits.MaxHigh(order));
                for (int i = 0; i < bin->Count; i++)
                {
                    Pfn pfn = new(bin->Entries[i]);
                    Page* head = arena.Map[pfn];
                    Require(head->PageType.IsCached && !head->PageType.IsBuddy && head->Refcount == 0, $"{pfn} in a thread's pages says Cached", head->State, 0);
                    Require(head->Private == (ulong)order, $"{pfn} has the order of its stack", head->Private, (ulong)order);
                    sum += 1ul << order;
                }
            }
        }

        return sum;
    }

    /// <summary>Throws with the equation and both values.</summary>
    public static void Require(bool holds, string equation, ulong left, ulong right)
    {
        if (!holds)
        {
            Fail(equation, left, right);
        }
    }

    /// <summary>As above; the text is only put together where the equation does not hold.</summary>
    public static void Require(bool holds, [InterpolatedStringHandlerArgument(nameof(holds))] ref EquationText equation, ulong left, ulong right)
    {
        if (!holds)
        {
            Fail(equation.ToString(), left, right);
        }
    }

    [DoesNotReturn]
    private static void Fail(string equation, ulong left, ulong right) =>
        throw new InvalidOperationException(
            string.Create(CultureInfo.InvariantCulture, $"invariant broken: {equation}; {left} (0x{left:x}) against {right} (0x{right:x})"));
}

/// <summary>Text of an equation, built only where it is broken: a verification looks at millions of pages.</summary>
[InterpolatedStringHandler]
internal ref struct EquationText
{
    private readonly StringBuilder? _text;

    public EquationText(int literalLength, int formattedCount, bool holds, out bool enabled)
    {
        enabled = !holds;
        _text = enabled ? new StringBuilder(literalLength + (8 * formattedCount)) : null;
    }

    /// <summary>Called by the compiler.</summary>
    public readonly void AppendLiteral(string text) => _text!.Append(text);

    /// <summary>Called by the compiler.</summary>
    public readonly void AppendFormatted<T>(T value) => _text!.Append(value);

    /// <inheritdoc/>
    public override readonly string ToString() => _text?.ToString() ?? string.Empty;
}
