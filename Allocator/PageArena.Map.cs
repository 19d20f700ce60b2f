using System;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>A map of the arena: what each pageblock (2 MiB) is, with its shares of taken, raw and treated pages. Stops nobody: the zone
    /// locks are held for some microseconds at a time, so each cell is true of an instant and the whole only of a still arena. Costs a look
    /// at the head of each block, so little where blocks are large; only pageblocks that were ever used are looked at.</summary>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public ArenaMap GetMap()
    {
        Pin();
        try
        {
            MapSection[] sections = new MapSection[_zones.Length];
            for (int i = 0; i < sections.Length; i++)
            {
                sections[i] = new MapWalk(_map, _zones[i]).Run();
            }

            return new ArenaMap(sections);
        }
        finally
        {
            Unpin();
        }
    }
}
