using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Text;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Properties;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>A small arena whose exact state a test can read and state: no threads' pages, no reserve, no treatment, one zone, unless
/// the test says otherwise. Blocks are named by their first page. The free lists are text, largest order first, each list from
/// head to tail, a star after what is treated: <c>U10:0 U3:8,16* I9:512</c>.</summary>
internal sealed class ArenaProbe : IDisposable
{
    public ArenaProbe(int mebibytes, Action<PageArenaOptions>? change = null, FaultyOperatingSystem? os = null, TreatmentSeams? seams = null)
    {
        PageArenaOptions options = new()
        {
            SizeBytes = (nuint)mebibytes << 20,
            CapBytes = (nuint)mebibytes << 20,
            MinFreeBytes = 0,
            Zones = 1,
            ThreadPages = false,
            HugePages = HugePages.Never,
            Aeration = new AerationOptions { Enabled = false, Clock = Clock },
        };
        change?.Invoke(options);
        ScribblingBalloon? balloon = null;
        Arena = PageArena.CreateOn(
            os ?? (IOperatingSystem)LinuxSystem.Instance,
            options,
            seams ?? new TreatmentSeams((arena, o) => balloon = new ScribblingBalloon(arena) { MaxBatch = o.Aeration.ReactorCapacity }, HasWorker: false));
        Balloon = balloon;
    }

    public PageArena Arena { get; }

    public ManualClock Clock { get; } = new();

    /// <summary>The host, where treatment is on.</summary>
    public ScribblingBalloon? Balloon { get; }

    public Zone Zone => Arena.Zones[0];

    /// <summary>First page of a new block.</summary>
    public unsafe uint Take(int order, MigrateType type = MigrateType.Unmovable, AllocationFlags flags = AllocationFlags.None) =>
        PageOf(Arena.AllocatePages(order, type, flags));

    /// <summary>First page of a new block; null where there is none.</summary>
    public unsafe uint? TryTake(int order, MigrateType type = MigrateType.Unmovable, AllocationFlags flags = AllocationFlags.None) =>
        Arena.TryAllocatePages(order, out void* block, type, flags) ? PageOf(block) : null;

    /// <summary>That many blocks in a row.</summary>
    public uint[] TakeMany(int count, int order, MigrateType type = MigrateType.Unmovable) =>
        [.. Enumerable.Range(0, count).Select(_ => Take(order, type))];

    public unsafe uint TakeRange(ulong pages, AllocationFlags flags = AllocationFlags.None) =>
        PageOf(Arena.AllocateRange((nuint)pages << PageblockLimits.PageShift, flags));

    public unsafe void Free(params IEnumerable<uint> pages)
    {
        foreach (uint page in pages)
        {
            Arena.FreePages(AddressOf(page));
        }
    }

    public unsafe void* AddressOf(uint page) => Arena.BaseAddress + ((nuint)page << PageblockLimits.PageShift);

    public unsafe uint PageOf(void* block) => (uint)((byte*)block - Arena.BaseAddress >> PageblockLimits.PageShift);

    public MigrateType TypeOf(uint page) => Arena.Map.TypeOf(new Pfn(page));

    /// <summary>The free lists of a zone, after all invariants were checked.</summary>
    public unsafe string Lists(int zone = 0)
    {
        Arena.Verify();
        StringBuilder text = new();
        for (int order = PageblockLimits.MaxOrder; order >= 0; order--)
        {
            for (int type = 0; type < MigrateTypes.Count; type++)
            {
                FreeArea area = Arena.Zones[zone].Area(new Order(order));
                if (!area.IsEmpty((MigrateType)type))
                {
                    text.Append($"{(text.Length == 0 ? "" : " ")}{((MigrateType)type).ToString()[0]}{order}:");
                    text.Append(string.Join(',', Entries(area.List((MigrateType)type))));
                }
            }
        }

        return text.ToString();
    }

    /// <summary>States the free lists of the zone.</summary>
    public void Expect(string lists, [CallerLineNumber] int line = 0) =>
        Assert.True(lists == Lists(), $"line {line}: expected {lists} and found {Lists()}");

    public void Dispose() => Arena.Dispose();

    private unsafe List<string> Entries(ListHead* list)
    {
        List<string> entries = [];
        for (ListHead* node = list->Next; node != list; node = node->Next)
        {
            Page* head = PageMap.PageOf(node);
            entries.Add($"{Arena.Map.PfnOf(head).Value}{(head->PageType.IsTreated ? "*" : "")}");
        }

        return entries;
    }
}
