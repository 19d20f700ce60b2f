using System;
using System.Collections.Generic;
using System.IO;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>An arena at a glance: each pageblock (2 MiB) is a cell with a state. A snapshot by <see cref="PageArena.GetMap"/> that does not
/// change; any thread may read it. Each cell is true of one instant, and different cells of different instants unless the arena was still;
/// in a still arena the sums below equal those of <see cref="ArenaStatistics"/>.</summary>
public sealed class ArenaMap
{
    private readonly IReadOnlyList<MapSection> _sections;
    private readonly int[] _counts = new int[(int)PageblockState.Quarantined + 1];

    internal ArenaMap(IReadOnlyList<MapSection> sections)
    {
        _sections = sections;
        foreach (MapSection section in sections)
        {
            Count += section.Pageblocks;
            _counts[(int)PageblockState.NeverUsed] += section.Pageblocks - section.Cells.Count;
            foreach (PageblockCell cell in section.Cells)
            {
                Add(cell);
            }
        }
    }

    /// <summary>Pageblocks in the arena, never used ones included.</summary>
    public int Count { get; }

    /// <summary>Pageblocks that were ever used.</summary>
    public int UsedCount => Count - CountOf(PageblockState.NeverUsed);

    /// <summary>Bytes in the users' hands, those in isolated pageblocks included.</summary>
    public long TakenBytes { get; private set; }

    /// <summary>Bytes in threads' pages, those in isolated pageblocks included.</summary>
    public long CachedBytes { get; private set; }

    /// <summary>Bytes free that the host was not told of, without those in isolated pageblocks.</summary>
    public long RawBytes { get; private set; }

    /// <summary>Bytes free that the host has dropped, without those in isolated pageblocks.</summary>
    public long TreatedBytes { get; private set; }

    /// <summary>Bytes in the reactor.</summary>
    public long InReactorBytes { get; private set; }

    /// <summary>Bytes free in isolated pageblocks.</summary>
    public long IsolatedBytes { get; private set; }

    /// <summary>Bytes that the balloon holds.</summary>
    public long InflatedBytes { get; private set; }

    /// <summary>Bytes held back from a lost device.</summary>
    public long QuarantinedBytes { get; private set; }

    /// <summary>Bytes never used.</summary>
    public long NeverUsedBytes => (long)CountOf(PageblockState.NeverUsed) << (PageblockLimits.PageblockOrder + PageblockLimits.PageShift);

    internal IReadOnlyList<MapSection> Sections => _sections;

    /// <summary>The cell of a pageblock.</summary>
    /// <param name="pageblock">Counted in 2 MiB from the arena's start, 0 to <see cref="Count"/> - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such pageblock.</exception>
    public PageblockCell this[int pageblock]
    {
        get
        {
            if (pageblock < 0 || pageblock >= Count)
            {
                throw new ArgumentOutOfRangeException(nameof(pageblock), pageblock, $"allowed: 0 to {Count - 1}.");
            }

            int at = 0;
            while (pageblock >= _sections[at].Start + _sections[at].Pageblocks)
            {
                at++;
            }

            int index = pageblock - _sections[at].Start;
            return index < _sections[at].Cells.Count ? _sections[at].Cells[index] : default;
        }
    }

    /// <summary>Pageblocks in a state.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is no state.</exception>
    public int CountOf(PageblockState state) => state >= 0 && (int)state < _counts.Length
        ? _counts[(int)state]
        : throw new ArgumentOutOfRangeException(nameof(state), state, $"allowed: 0 (NeverUsed) to {_counts.Length - 1} (Quarantined).");

    /// <summary>Writes the map as a picture (SVG 1.1, self-contained): a square a pageblock, in rows from the arena's start, coloured by
    /// state, a mixed one by its shares; a title and a legend with counts and bytes. What was never used is one line at the end. The size
    /// is about 20 bytes per used cell, three times that for mixed ones.</summary>
    /// <param name="output">Gets the text; not closed.</param>
    /// <exception cref="ArgumentNullException"><paramref name="output"/> is null.</exception>
    public void WriteSvg(TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(output);
        MapPicture picture = new(this, null, MapPicture.PageWidth, MapPicture.PageHeight);
        SvgCanvas canvas = new(picture.Width, picture.Height);
        picture.Draw(canvas, 0, 0);
        canvas.Write(output);
    }

    private void Add(PageblockCell cell)
    {
        _counts[(int)cell.State]++;
        bool isolated = cell.State == PageblockState.Isolated;
        TakenBytes += Bytes(cell.TakenPages);
        CachedBytes += Bytes(cell.CachedPages);
        RawBytes += isolated ? 0 : Bytes(cell.RawPages);
        TreatedBytes += isolated ? 0 : Bytes(cell.TreatedPages);
        IsolatedBytes += isolated ? Bytes(cell.RawPages + cell.TreatedPages) : 0;
        InReactorBytes += Bytes(cell.InReactorPages);
        InflatedBytes += Bytes(cell.InflatedPages);
        QuarantinedBytes += Bytes(cell.QuarantinedPages);
    }

    private static long Bytes(int pages) => (long)pages << PageblockLimits.PageShift;
}

/// <summary>A zone's part of a map.</summary>
/// <param name="Zone">Its number.</param>
/// <param name="Start">Its first pageblock.</param>
/// <param name="Pageblocks">How many it has.</param>
/// <param name="Cells">Those that were ever used.</param>
internal sealed record MapSection(int Zone, int Start, int Pageblocks, IReadOnlyList<PageblockCell> Cells);
