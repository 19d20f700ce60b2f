using System;
using System.Collections.Generic;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;

namespace LowLevel.Perf;

/// <summary>Guest memory that is mapped twice: the code under attack sees it between pages that nobody may touch, and may write only the parts that
/// are its to write; the input's view may write everything. So a write that should not be ends the process, and costs nothing to look for.</summary>
internal sealed class FuzzMemory : IDisposable
{
    private const nuint Page = 4096;

    private readonly List<Part> _parts = [];
    private readonly List<(nint Address, nuint Bytes)> _mappings = [];

    /// <summary>A part of guest memory.</summary>
    /// <param name="Address">Guest address.</param>
    /// <param name="Bytes">Whole pages.</param>
    /// <param name="Product">Where the code under attack sees it.</param>
    /// <param name="Input">Where the input does.</param>
    public readonly record struct Part(ulong Address, nuint Bytes, nint Product, nint Input);

    private static LinuxSystem Os => LinuxSystem.Instance;

    /// <summary>The parts in the order in which they were added.</summary>
    public IReadOnlyList<Part> Parts => _parts;

    /// <summary>Adds a part, which begins with zeros.</summary>
    public Part Add(ulong address, int pages, MemoryProtection product)
    {
        nuint bytes = (nuint)pages * Page;
        Require(Os.CreateMemfd("lowlevel-fuzz", bytes, out int file));
        Require(Os.MapAnonymous(bytes + (2 * Page), MemoryProtection.None, out nint whole));
        Require(Os.MapShared(file, 0, bytes, product, whole + (nint)Page, out nint inner));
        Require(Os.MapShared(file, 0, bytes, MemoryProtection.ReadWrite, 0, out nint input));
        Os.Close(file);
        _mappings.Add((whole, bytes + (2 * Page)));
        _mappings.Add((input, bytes));
        Part part = new(address, bytes, inner, input);
        _parts.Add(part);
        return part;
    }

    /// <summary>What the code under attack gets.</summary>
    public GuestMemory ToGuestMemory()
    {
        GuestRegion[] regions = [.. _parts.ConvertAll(static part => new GuestRegion(part.Address, part.Bytes, part.Product))];
        return new GuestMemory(regions);
    }

    /// <summary>The part that a range lies in; false: it is not all in one.</summary>
    public bool TryFind(ulong address, ulong bytes, out Part found)
    {
        foreach (Part part in _parts)
        {
            if (bytes != 0 && address >= part.Address && address < part.Address + part.Bytes && bytes <= part.Address + part.Bytes - address)
            {
                found = part;
                return true;
            }
        }

        found = default;
        return false;
    }

    public void Dispose()
    {
        _mappings.ForEach(static mapping => Os.Unmap(mapping.Address, mapping.Bytes));
        _mappings.Clear();
    }

    private static void Require(Errno error)
    {
        if (error != Errno.None)
        {
            throw new MeasurementException($"no memory to fuzz in: {error}");
        }
    }
}
