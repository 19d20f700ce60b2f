using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The blocks of an arena that are not in it (<see cref="CapPolicy.FallBack"/>): a mapping of its own each, known by its first byte,
/// unmapped when freed. They have no struct page, no zone and no part in treatment, and outlive the arena until they are freed.
/// <code>bytes = sum over the table;   no block overlaps the arena</code>
/// Any thread; the lock is held for the table only, not for calls to the OS.</summary>
internal sealed class OutsideBlocks
{
    private readonly IOperatingSystem _os;
    private readonly HugePages _hugePages;
    private readonly bool _excludeFromDumps;
    private readonly bool _zeroOnFree;
    private readonly string _name;
    private readonly Lock _lock = new();
    private readonly Dictionary<nuint, nuint> _blocks = [];
    private nuint _bytes;
    private int _count;

    /// <summary>None yet.</summary>
    public OutsideBlocks(IOperatingSystem os, PageArenaOptions options)
    {
        _os = os;
        _hugePages = options.HugePages;
        _excludeFromDumps = options.ExcludeFromDumps;
        _zeroOnFree = options.ZeroOnFree;
        _name = options.Name + "-out";
    }

    /// <summary>Bytes and number of the blocks.</summary>
    public (long Bytes, long Blocks) Count()
    {
        lock (_lock)
        {
            return ((long)_bytes, _count);
        }
    }

    /// <summary>Maps a block; it reads zero.</summary>
    /// <param name="bytes">A multiple of the page size.</param>
    /// <param name="alignment">A power of two, at least the page size.</param>
    /// <param name="block">Its first byte.</param>
    /// <param name="errno">Why not.</param>
    public bool TryAllocate(nuint bytes, nuint alignment, out nuint block, out Errno errno)
    {
        block = 0;
        nuint spare = alignment - PageblockLimits.PageSize;
        if (bytes > nuint.MaxValue - spare)
        {
            errno = Errno.ENOMEM;
            return false;
        }

        errno = _os.MapAnonymous(bytes + spare, MemoryProtection.ReadWrite, out nint mapped);
        if (errno != Errno.None)
        {
            return false;
        }

        block = ((nuint)mapped + alignment - 1) & ~(alignment - 1);
        nuint before = block - (nuint)mapped;
        Unmap((nuint)mapped, before);
        Unmap(block + bytes, spare - before);
        Prepare(block, bytes);
        lock (_lock)
        {
            _blocks.Add(block, bytes);
            _bytes += bytes;
            _count++;
        }

        return true;
    }

    /// <summary>A block's size; false where it is none (any more).</summary>
    public bool TryGetBytes(nuint block, out nuint bytes)
    {
        bytes = 0;
        if (Volatile.Read(ref _count) == 0)
        {
            return false;
        }

        lock (_lock)
        {
            return _blocks.TryGetValue(block, out bytes);
        }
    }

    /// <summary>Unmaps a block; false where it is none (any more).</summary>
    public unsafe bool TryFree(nuint block)
    {
        if (Volatile.Read(ref _count) == 0)
        {
            return false;
        }

        nuint bytes;
        lock (_lock)
        {
            // Forgotten before it is unmapped: afterwards its address may be the next block's.
            if (!_blocks.Remove(block, out bytes))
            {
                return false;
            }

            _bytes -= bytes;
            _count--;
        }

        if (_zeroOnFree)
        {
            // The kernel clears it before anybody else has it; until then it would lie about as it was.
            Pattern.Fill((void*)block, bytes, 0);
        }

        Unmap(block, bytes);
        return true;
    }

    /// <summary>Recomputes the equations above.</summary>
    public void Verify(nuint arena, nuint arenaBytes)
    {
        lock (_lock)
        {
            nuint sum = 0;
            foreach ((nuint block, nuint bytes) in _blocks)
            {
                bool apart = block + bytes <= arena || block >= arena + arenaBytes;
                ArenaVerifier.Require(apart, "a block outside of the arena does not overlap it", block, arena);
                sum += bytes;
            }

            ArenaVerifier.Require(sum == _bytes, "bytes outside of the arena == sum over their blocks", _bytes, sum);
            ArenaVerifier.Require(_count == _blocks.Count, "blocks outside of the arena == blocks known", (ulong)_count, (ulong)_blocks.Count);
        }
    }

    private void Prepare(nuint block, nuint bytes)
    {
        // Wishes, as for the arena: where they are refused, the block is a block all the same.
        if (_hugePages != HugePages.System)
        {
            _os.Advise((nint)block, bytes, _hugePages == HugePages.Advise ? MemoryAdvice.HugePage : MemoryAdvice.NoHugePage);
        }

        if (_excludeFromDumps)
        {
            _os.Advise((nint)block, bytes, MemoryAdvice.DontDump);
        }

        _os.NameMapping((nint)block, bytes, _name);
    }

    /// <summary>munmap; where the kernel will not cut one mapping into two (too many of them), the memory goes and the addresses stay.</summary>
    private void Unmap(nuint address, nuint bytes)
    {
        if (bytes != 0 && _os.Unmap((nint)address, bytes) != Errno.None)
        {
            _os.Advise((nint)address, bytes, MemoryAdvice.DontNeed);
        }
    }
}
