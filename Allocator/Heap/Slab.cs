using System.Numerics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>One block of the arena, cut into objects of one size. Which of them are free is told by bits that lie in its own struct pages: a
/// word for each 64 objects and, before them, a word with a bit for each of those that is not zero; five words in each struct page behind
/// the head's. In the head's own stand the count, the size class and the heap; what treatment reads of it stays.
/// Nothing is written into the objects, so a program that writes past an object's end breaks its own data and never the heap, and
/// memory that was freed is not touched again.
/// <code>
/// free_objects          = sum over g of popcount(word g)
/// bit g of the groups   = word g is not 0
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

    /// <summary>A bit for each group of 64 objects that has a free one.</summary>
    public unsafe ulong* Groups => Slot(0);

    /// <summary>All objects are free.</summary>
    public unsafe void FillWhole(int capacity)
    {
        uint groups = (uint)(capacity + (int)GroupMask) >> GroupShift;
        for (uint group = 0; group < groups; group++)
        {
            int left = capacity - (int)(group << GroupShift);
            *Word(group) = left >= 64 ? ulong.MaxValue : (1ul << left) - 1;
        }

        *Groups = groups == 64 ? ulong.MaxValue : (1ul << (int)groups) - 1;
        _head->FreeObjects = (ushort)capacity;
    }

    /// <summary>Makes its struct pages what those of any user's block are; the links, the order and the owner stay.</summary>
    public unsafe void Wipe(int capacity)
    {
        uint groups = (uint)(capacity + (int)GroupMask) >> GroupShift;
        for (uint group = 0; group < groups; group++)
        {
            *Word(group) = 0;
        }

        *Groups = 0;
        _head->FreeObjects = 0;
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
        ulong groups = *Groups;
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

        *Groups = groups;
        _head->FreeObjects -= (ushort)taken;
        return taken;
    }

    /// <summary>Objects come back, as many from the front of an array as lie in this slab.</summary>
    /// <param name="start">Address of the slab.</param>
    /// <param name="bytes">Of the slab.</param>
    /// <param name="reciprocal">Of the size of an object.</param>
    /// <param name="objects">Addresses of heads of objects; the first one lies in this slab.</param>
    /// <param name="count">How many, 1 at least.</param>
    /// <param name="twice">One that is free already; it stays so.</param>
    /// <returns>How many were looked at.</returns>
    public unsafe int Give(ulong start, ulong bytes, uint reciprocal, ulong* objects, int count, ref ulong twice)
    {
        int done = 0;
        uint given = 0;
        uint group = SizeClasses.IndexOf((uint)(objects[0] - start), reciprocal) >> GroupShift;
        ulong* word = Word(group);
        ulong bits = *word;
        ulong groups = *Groups | (1ul << (int)group);
        for (; done < count; done++)
        {
            ulong offset = unchecked(objects[done] - start);
            if (offset >= bytes)
            {
                break;
            }

            uint index = SizeClasses.IndexOf((uint)offset, reciprocal);
            if (index >> GroupShift != group)
            {
                // What is freed in a row often lies side by side: the word stays in a register as long as it does.
                *word = bits;
                group = index >> GroupShift;
                word = Word(group);
                bits = *word;
                groups |= 1ul << (int)group;
            }

            ulong bit = 1ul << (int)(index & GroupMask);
            if ((bits & bit) != 0)
            {
                twice = objects[done];
                continue;
            }

            bits |= bit;
            given++;
        }

        *word = bits;
        *Groups = groups;
        _head->FreeObjects += (ushort)given;
        return done;
    }

    /// <summary>Whether an object is free.</summary>
    public unsafe bool IsFree(uint index) => (*Word(index >> GroupShift) & (1ul << (int)(index & GroupMask))) != 0;

    /// <summary>The bits of a group of 64 objects.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ulong* Word(uint group) => Slot(group + 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe ulong* Slot(uint slot)
    {
        // Sound: every slab has at least 15 struct pages behind the head's, and at most 64 groups.
        uint page = slot / WordsPerPage;
        return Page.SlabWords(_head + 1 + page, (int)(slot - (page * WordsPerPage)));
    }
}
