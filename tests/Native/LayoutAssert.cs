using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>Assertions that the generated layout tests share. Places are measured with pointers: what the JIT does, not what
/// Marshal would do.</summary>
internal static class LayoutAssert
{
    /// <summary>A field begins at its offset and has its size.</summary>
    public static unsafe void Field(string name, int offset, int size, void* structure, void* field, int fieldSize)
    {
        // Both pointers lie in one local variable of the caller, so their difference is an offset.
        long measured = (byte*)field - (byte*)structure;
        Assert.True(measured == offset, $"{name} lies at {measured}, the layout says {offset}");
        Assert.True(fieldSize == size, $"{name} has {fieldSize} bytes, the layout says {size}");
    }

    /// <summary>The runtime places the struct as the layout says. It knows no alignment above 8: there the layout's must be a multiple,
    /// and whoever maps the memory keeps it.</summary>
    public static unsafe void Alignment<T>(int declared)
        where T : unmanaged
    {
        AfterOneByte<T> holder = default;
        // The holder is a local variable: it does not move while it is measured.
        int measured = (int)((byte*)&holder.Value - &holder.First);
        Assert.True(
            declared <= 8 ? measured == declared : declared % measured == 0,
            $"{typeof(T).Name} is aligned to {measured} by the runtime, the layout says {declared}");
        Assert.True(sizeof(T) % declared == 0, $"{typeof(T).Name} has {sizeof(T)} bytes, no multiple of its alignment {declared}");
    }

    private struct AfterOneByte<T>
        where T : unmanaged
    {
        public byte First;
        public T Value;
    }
}
