using System;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>An array on an arena, of as many elements as the arena holds: more than 2 GiB and more than 2^31 elements too. Its elements
/// have a fixed, page-aligned address, and the garbage collector neither sees nor moves them.</summary>
/// <typeparam name="T">A type without references.</typeparam>
/// <remarks>
/// <para>Elements may be used from many threads as those of any array. <see cref="Resize"/> and <see cref="Dispose"/> are for one thread while nobody
/// else uses the array: they end every reference and span from before.</para>
/// <para>Dispose it: there is no finalizer, which could free the memory under a span in use. There is no <see cref="Memory{T}"/> of it either,
/// which would outlive a Resize unnoticed and count in 31 bits: <see cref="ArenaMemoryPool"/> rents what can be passed on.</para>
/// </remarks>
public sealed class ArenaArray<T> : IDisposable
    where T : unmanaged
{
    private readonly PageArena arena;
    private readonly AllocationFlags flags;
    private nint block; // 0: no elements
    private long length;
    private bool disposed;

    /// <summary>An array of so many elements.</summary>
    /// <param name="arena">Where the memory comes from.</param>
    /// <param name="length">Elements, 0 to what fits into the arena.</param>
    /// <param name="flags">How to go about it, also when the array grows. With <see cref="AllocationFlags.Zeroed"/> new elements are zero; without it
    /// they are whatever the memory held.</param>
    /// <exception cref="ArgumentNullException"><paramref name="arena"/> is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> or <paramref name="flags"/> are none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such range; the message says what is free.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public ArenaArray(PageArena arena, long length, AllocationFlags flags = AllocationFlags.None)
    {
        ArgumentNullException.ThrowIfNull(arena);
        this.arena = arena;
        this.flags = flags;
        PageArena.CheckFlags(flags);
        CheckLength(length);
        unsafe
        {
            block = length == 0 ? 0 : (nint)arena.AllocateRange(BytesOf(length), flags);
        }

        this.length = length;
    }

    /// <summary>Number of elements; 0 after Dispose.</summary>
    public long Length => length;

    /// <summary>An element, by reference.</summary>
    /// <exception cref="IndexOutOfRangeException">Not 0 to <see cref="Length"/> - 1; the message names the index and the length.</exception>
    /// <exception cref="ObjectDisposedException">The array was disposed.</exception>
    public unsafe ref T this[long index]
    {
        get
        {
            if (unchecked((ulong)index) >= (ulong)length)
            {
                ThrowIndex(index);
            }

            // Sound: the block holds at least this many elements, and its pages are aligned for any of them.
            return ref ((T*)block)[index];
        }
    }

    /// <summary>All elements.</summary>
    /// <exception cref="InvalidOperationException">More than 2^31 - 1, which no span can hold: take it piece by piece.</exception>
    /// <exception cref="ObjectDisposedException">The array was disposed.</exception>
    public Span<T> AsSpan()
    {
        if (length > int.MaxValue)
        {
            throw new InvalidOperationException($"{length} elements are more than a span can hold ({int.MaxValue}): use AsSpan(start, length).");
        }

        return AsSpan(0, (int)length);
    }

    /// <summary><paramref name="count"/> elements from <paramref name="start"/> on; good until the array is resized or disposed.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not all of them are elements of the array.</exception>
    /// <exception cref="ObjectDisposedException">The array was disposed.</exception>
    public unsafe Span<T> AsSpan(long start, int count)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (start < 0 || start > length)
        {
            throw new ArgumentOutOfRangeException(nameof(start), start, $"Allowed: 0 to {length}, the array's length.");
        }

        if (count < 0 || count > length - start)
        {
            throw new ArgumentOutOfRangeException(nameof(count), count, $"Allowed: 0 to {length - start}, what follows element {start}.");
        }

        // Sound: inside the block, by the checks.
        return new Span<T>((T*)block + start, count);
    }

    /// <summary>Changes the length; elements that stay keep their values. A shorter array stays where it is and frees whole pages at its end
    /// at once. A longer one takes the memory behind it where that is free, else it moves: both copies exist for a moment, and the first
    /// is freed. Exact: who adds one by one doubles the length himself.</summary>
    /// <param name="newLength">Elements, 0 to what fits into the arena.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="newLength"/> is none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such range; the array is as it was.</exception>
    /// <exception cref="ObjectDisposedException">The array or its arena was disposed.</exception>
    public unsafe void Resize(long newLength)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        CheckLength(newLength);

        // Sound: the block is this array's own and holds what length says; nobody else uses it now, by the contract.
        nuint had = BytesOf(length);
        nuint wanted = BytesOf(newLength);
        if (newLength == 0)
        {
            Free();
        }
        else if (block == 0)
        {
            block = (nint)arena.AllocateRange(wanted, flags);
        }
        else
        {
            if (!arena.TryResize((void*)block, wanted, flags))
            {
                Move(had, wanted);
            }

            if (wanted > had && (flags & AllocationFlags.Zeroed) != 0)
            {
                // What the arena adds is zero; the rest of the last page has what elements of before left there.
                nuint page = (had + PageblockLimits.PageSize - 1) & ~(nuint)(PageblockLimits.PageSize - 1);
                NativeMemory.Clear((byte*)block + had, Math.Min(wanted, page) - had);
            }
        }

        length = newLength;
    }

    /// <summary>Lets <c>fixed</c> take the address of the first element; a null reference where there is none.</summary>
    public unsafe ref T GetPinnableReference() => ref *(T*)block;

    /// <summary>For foreach, which may take the elements by reference.</summary>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>Frees the memory. Harmless when repeated.</summary>
    public void Dispose()
    {
        disposed = true;
        Free();
    }

    private static unsafe nuint BytesOf(long elements) => (nuint)elements * (nuint)sizeof(T);

    private unsafe void CheckLength(long asked, [CallerArgumentExpression(nameof(asked))] string? name = null)
    {
        long most = (long)(arena.SizeBytes / (nuint)sizeof(T));
        if (asked < 0 || asked > most)
        {
            throw new ArgumentOutOfRangeException(name, asked, $"Allowed: 0 to {most}, what fits into the arena's {arena.SizeBytes} bytes.");
        }
    }

    private unsafe void Move(nuint had, nuint wanted)
    {
        void* larger = arena.AllocateRange(wanted, flags);
        Buffer.MemoryCopy((void*)block, larger, wanted, had);
        arena.FreePages((void*)block);
        block = (nint)larger;
    }

    private unsafe void Free()
    {
        // Sound: the block is this array's own, and is forgotten before anybody could free it again.
        nint freed = block;
        (block, length) = (0, 0);
        if (freed != 0)
        {
            arena.FreePages((void*)freed);
        }
    }

    [DoesNotReturn]
    private void ThrowIndex(long index)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        throw new IndexOutOfRangeException($"Index {index} is not one of the array's {length} elements.");
    }

    /// <summary>Goes through the elements. An array that becomes shorter meanwhile ends it early.</summary>
    public ref struct Enumerator
    {
        private readonly ArenaArray<T> array;
        private long index;

        internal Enumerator(ArenaArray<T> array)
        {
            this.array = array;
            index = -1;
        }

        /// <summary>The element, by reference.</summary>
        public readonly ref T Current => ref array[index];

        /// <summary>To the next element; false: there is none.</summary>
        public bool MoveNext() => ++index < array.length;
    }
}
