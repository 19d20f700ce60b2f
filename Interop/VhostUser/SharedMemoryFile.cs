using System;
using System.Globalization;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.VhostUser;

/// <summary>A memory file that can be shared with a process which is not trusted, and mapped here: of fixed size, so that nobody can pull pages
/// from under its users, and held by an open file description that the kernel counts, so that it can be known when nobody else has it.</summary>
internal sealed class SharedMemoryFile : IDisposable
{
    private readonly IOperatingSystem _system;
    private readonly IDescriptors _descriptors;
    private int _file;

    private SharedMemoryFile(IOperatingSystem system, IDescriptors descriptors, int file, nint mapping, nuint bytes)
    {
        _system = system;
        _descriptors = descriptors;
        _file = file;
        Mapping = mapping;
        Bytes = bytes;
    }

    /// <summary>The file.</summary>
    public int File => _file;

    /// <summary>Where it is mapped.</summary>
    public nint Mapping { get; }

    /// <summary>Its length.</summary>
    public nuint Bytes { get; }

    /// <summary>A file of zeroes, mapped.</summary>
    /// <exception cref="OutOfMemoryException">The system refused; the message says which call.</exception>
    public static SharedMemoryFile Create(IOperatingSystem system, IDescriptors descriptors, string name, nuint bytes)
    {
        ArgumentNullException.ThrowIfNull(system);
        Require(system.CreateMemfd(name, bytes, out int file), "memfd_create", bytes);
        Errno error = Prepare(descriptors, ref file, out string call);
        nint mapping = 0;
        if (error == Errno.None)
        {
            (error, call) = (system.MapShared(file, 0, bytes, MemoryProtection.ReadWrite, 0, out mapping), "mmap of the memfd");
        }

        if (error != Errno.None)
        {
            descriptors.Close(file);
            Require(error, call, bytes);
        }

        return new SharedMemoryFile(system, descriptors, file, mapping, bytes);
    }

    /// <summary>Makes a new memfd fit to be shared: seals its size for good and opens it anew. On failure the descriptor is as it was.</summary>
    /// <param name="descriptors">Descriptors.</param>
    /// <param name="file">The memfd; afterwards another descriptor of the same file.</param>
    /// <param name="call">Which call failed.</param>
    public static Errno Prepare(IDescriptors descriptors, ref int file, out string call)
    {
        ArgumentNullException.ThrowIfNull(descriptors);
        call = "fcntl F_ADD_SEALS on the memfd";
        Errno error = descriptors.SealSize(file, final: true);
        if (error != Errno.None)
        {
            return error;
        }

        call = "opening the memfd again through /proc/self/fd";
        error = descriptors.Reopen(file, out int another);
        if (error != Errno.None)
        {
            return error;
        }

        descriptors.Close(file);
        file = another;
        return Errno.None;
    }

    /// <summary>Unmaps and closes it.</summary>
    public void Dispose()
    {
        if (_file >= 0)
        {
            _system.Unmap(Mapping, Bytes);
            _descriptors.Close(_file);
            _file = -1;
        }
    }

    private static void Require(Errno error, string call, nuint bytes)
    {
        if (error != Errno.None)
        {
            throw new OutOfMemoryException(string.Create(CultureInfo.InvariantCulture, $"{call} of {bytes} bytes failed: {error}"));
        }
    }
}
