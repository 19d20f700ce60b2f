using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What is known of a free block besides its place: whether the host was told, whether it reads zero, and since when it
/// rests. A pure value: it travels with the block from list to thread's pages to reactor and back.</summary>
/// <param name="Treated">The host was told that the block is free, and nobody has had it since.</param>
/// <param name="Zero">Every byte reads zero (house rule: only by this process's own discard, or because it was never reached).</param>
/// <param name="FreedAt">Treatment epoch in which its youngest part was freed.</param>
internal readonly record struct BlockMarks(bool Treated, bool Zero, ulong FreedAt)
{
    /// <summary>Never used: nothing to tell, reads zero, has rested for ever.</summary>
    public static BlockMarks Fresh => new(Treated: false, Zero: true, FreedAt: 0);

    /// <summary>Just freed by its user.</summary>
    public static BlockMarks Raw(ulong epoch) => new(Treated: false, Zero: false, epoch);

    /// <summary>Two buddies become one block: it keeps what both had and rests since the younger one was freed (patch 3: Treated
    /// is lost when merging with raw).</summary>
    public BlockMarks MergedWith(BlockMarks other) =>
        new(Treated && other.Treated, Zero && other.Zero, FreedAt > other.FreedAt ? FreedAt : other.FreedAt);

    /// <summary>The marks that a free or cached head carries.</summary>
    public static unsafe BlockMarks Of(Page* head)
    {
        uint type = head->PageType.Value;
        return new((type & PageType.TreatedBit) == 0, (type & PageType.ZeroBit) == 0, head->FreedAt);
    }

    /// <summary>The page type with this mark's bits on top of an owner's bit.</summary>
    public PageType On(PageType owner)
    {
        if (Treated)
        {
            owner = owner.WithTreated();
        }

        return Zero ? owner.WithZero() : owner;
    }
}
