using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>The arithmetic of size classes, whole: every size, every alignment, every offset.</summary>
public sealed class SizeClassesTests
{
    public static TheoryData<int> Classes => new(Enumerable.Range(0, SizeClasses.Count));

    [Fact]
    public void Sizes_rise_from_16_bytes_to_32_KiB_by_at_most_an_eighth_above_128()
    {
        int[] sizes = [.. Enumerable.Range(0, SizeClasses.Count).Select(SizeClasses.Bytes)];
        Assert.Equal((16, SizeClasses.MaxBytes), (sizes[0], sizes[^1]));
        Assert.Equal(Enumerable.Range(1, 8).Select(i => i * 16), sizes[..8]);
        Assert.All(sizes, size => Assert.Equal(0, size % 16));
        for (int i = 8; i < sizes.Length; i++)
        {
            Assert.InRange(sizes[i], sizes[i - 1] + 1, sizes[i - 1] * 9 / 8);
        }
    }

    [Fact]
    public void The_class_of_a_size_and_alignment_is_the_smallest_that_fits_both()
    {
        for (int alignment = 16; alignment <= SizeClasses.MaxBytes; alignment *= 2)
        {
            int fits = 0;
            for (int bytes = 1; bytes <= SizeClasses.MaxBytes; bytes++)
            {
                while (SizeClasses.Bytes(fits) < bytes || SizeClasses.Bytes(fits) % alignment != 0)
                {
                    fits++;
                }

                Assert.True(SizeClasses.For(bytes, alignment) == fits, $"{bytes} bytes, alignment {alignment}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void An_offset_is_the_head_of_an_object_exactly_where_it_is_a_multiple_of_the_size(int sizeClass)
    {
        uint size = (uint)SizeClasses.Bytes(sizeClass);
        uint reciprocal = SizeClasses.Reciprocal(sizeClass);
        for (uint offset = 0; offset < (uint)new Order(SizeClasses.Order(sizeClass)).Bytes; offset++)
        {
            bool isHead = SizeClasses.IsHead(sizeClass, offset, out uint index);
            bool fits = offset % size == 0 && offset / size < SizeClasses.Capacity(sizeClass);
            Assert.True(isHead == fits && (!isHead || (index == offset / size && SizeClasses.IndexOf(offset, reciprocal) == index)), $"{size}: {offset}");
            Assert.True(offset >= 65_536 || SizeClasses.IsMultiple(offset, reciprocal) == (offset % size == 0), $"{size}: {offset} is a multiple");
        }
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_slab_wastes_at_most_a_tenth_and_its_bits_fit_into_its_struct_pages(int sizeClass)
    {
        int bytes = (int)new Order(SizeClasses.Order(sizeClass)).Bytes;
        int capacity = SizeClasses.Capacity(sizeClass);
        Assert.InRange(bytes - (capacity * SizeClasses.Bytes(sizeClass)), 0, bytes / 11);
        Assert.InRange((capacity + 63) / 64, 1, 64);
        Assert.True(SizeClasses.Order(sizeClass) == SizeClasses.SlabOrder || SizeClasses.Bytes(sizeClass) >= 3328);
        Assert.InRange(SizeClasses.SheafEntries(sizeClass), 8, 256);
    }

    /// <summary>The fast path sees only the first 64 KiB of a wide slab; where a class is not wide, all of it.</summary>
    [Fact]
    public void Most_classes_have_slabs_of_64_KiB()
    {
        int[] wide = [.. Enumerable.Range(0, SizeClasses.Count).Where(c => SizeClasses.Order(c) == SizeClasses.WideOrder).Select(SizeClasses.Bytes)];
        Assert.Equal([3328, 5120, 5632, 6144, 6656, 7680, 10240, 11264, 12288, 13312, 14336, 15360, 18432, 20480, 22528, 24576, 26624, 28672, 30720], wide);
    }
}
