using System.Numerics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>One block of the arena, cut into objects of one size. Which of them are free is told by bits that lie in its own struct pages: a
/// word for each 64 objects, five words in each struct page behind the head's, and in the head's a bit for each word that is not zero.
/// Nothing is written into the objects, so a program that writes past an object's end breaks its own data and never the heap, and
/// memory that was freed is not touched again.
/// <code>
/// free_objects          = sum over g of popcount(word g)
/// bit g of free_groups  = word g is not 0
/// free_objects          &lt;= capacity
/// </code>
/// Everything here needs the lock of the size class, or a slab that nobody else knows yet.</summary>
internal readonly struct Slab
{
    private const int GroupShift = 6;
    private const uint GroupMask = 63;
    private const uint WordsPerPage = 5;

    private readonly unsafe Page* _head;

    /// <summary>The slab that this struct page heads.</summary>
    public unsafe Slab(Page* head) => _head = head;

    /// <summary>Its struct page.</summary>
    public unsafe Page* Head => _head;

    /// <summary>Free objects.</summary>
    public unsafe uint Free => _head->FreeObjects;

    /// <summary>All objects are free.</summary>
    public unsafe void FillWhole(int capacity)
    {
        uint groups = (uint)(capacity + (int)GroupMask) >> GroupShift;
        for (uint group = 0; group < groups; group++)
        {
            int left = capacity - (int)(group << GroupShift);
            *Word(group) = left >= 64 ? ulong.MaxValue : (1ul << left) - 1;
        }

        _head->FreeGroups = groups == 64 ? ulong.MaxValue : (1ul << (int)groups) - 1;
        _head->FreeObjects = (uint)capacity;
    }

    /// <summary>Makes its struct pages what those of any user's block are; the links, the order and the owner stay.</summary>
    public unsafe void Wipe(int capacity)
    {
        uint groups = (uint)(capacity + (int)GroupMask) >> GroupShift;
        for (uint group = 0; group < groups; group++)
        {
            *Word(group) = 0;
        }

        _head->FreeGroups = 0;
        _head->Index = 0;
    }

    /// <summary>Takes free objects, those at the lowest addresses.</summary>
    /// <param name="start">Address of the slab.</param>
    /// <param name="size">Of an object, bytes.</param>
    /// <param name="into">Gets their addresses.</param>
    /// <param name="most">How many at most.</param>
    /// <returns>How many.</returns>
    public unsafe int Take(ulong start, uint size, ulong* into, int most)
    {
        int taken = 0;
        ulong groups = _head->FreeGroups;
        while (groups != 0 && taken < most)
        {
            uint group = (uint)BitOperations.TrailingZeroCount(groups);
            ulong* word = Word(group);
            ulong bits = *word;
            ulong first = start + ((ulong)size * (group << GroupShift));
            do
            {
                into[taken++] = first + ((ulong)size * (uint)BitOperations.TrailingZeroCount(bits));
                bits &= bits - 1;
            }
            while (bits != 0 && taken < most);
            *word = bits;
            groups &= bits == 0 ? groups - 1 : groups;
        }

        _head->FreeGroups = groups;
        _head->FreeObjects -= (uint)taken;
        return taken;
    }

    /// <summary>An object comes back. False: it is free already, and nothing changes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool TryGive(uint index)
    {
        ulong* word = Word(index >> GroupShift);
        ulong bits = *word;
        ulong bit = 1ul << (int)(index & GroupMask);
        if ((bits & bit) != 0)
        {
            return false;
        }

        *word = bits | bit;
        _head->FreeGroups |= 1ul << (int)(index >> GroupShift);
        _head->FreeObjects++;
        return true;
    }

    /// <summary>Whether an object is free.</summary>
    public unsafe bool IsFree(uint index) => (*Word(index >> GroupShift) & (1ul << (int)(index & GroupMask))) != 0;

    /// <summary>The bits of a group of 64 objects.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ulong* Word(uint group)
    {
        // Sound: a slab of 64 groups has 16 struct pages, of which 13 are needed; one of a single group has at least 16, too.
        uint page = group / WordsPerPage;
        return Page.FreeWords(_head + 1 + page, (int)(group - (page * WordsPerPage)));
    }
}
