using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>One ring as its frontend has described it, message by message. It runs from when everything is known and it is enabled until its base
/// is asked for.</summary>
internal sealed class Vring(IDescriptors os)
{
    private const int None = -1;

    private int _kick = None;
    private int _call = None;

    /// <summary>Descriptors; 0 until said.</summary>
    public uint Size { get; set; }

    /// <summary>Where it lies, in the frontend's addresses; null until said.</summary>
    public VhostUserVringAddress? Address { get; set; }

    /// <summary>The next request to take.</summary>
    public ushort Base { get; set; }

    /// <summary>The frontend has enabled it.</summary>
    public bool IsEnabled { get; set; }

    /// <summary>The device serves it.</summary>
    public bool IsRunning { get; set; }

    /// <summary>The frontend has handed over what starts the ring: an event, or the word that it will be polled.</summary>
    public bool IsStarted => _kick != None || IsPolled;

    /// <summary>No event comes: look without being asked.</summary>
    public bool IsPolled { get; private set; }

    /// <summary>The driver's event; negative where there is none.</summary>
    public int Kick => _kick;

    /// <summary>Everything is known, and it may run.</summary>
    public bool MayRun => IsStarted && IsEnabled && Size != 0 && Address is not null;

    /// <summary>Takes over the driver's event; negative: it will be polled.</summary>
    public void SetKick(int file)
    {
        Replace(ref _kick, file);
        IsPolled = file < 0;
    }

    /// <summary>Takes over the event that tells the driver; negative: the driver polls.</summary>
    public void SetCall(int file) => Replace(ref _call, file);

    /// <summary>Tells the driver.</summary>
    public void Interrupt()
    {
        if (_call != None)
        {
            // A full counter (EAGAIN) wakes as well.
            os.Signal(_call);
        }
    }

    /// <summary>Empties the driver's event.</summary>
    public void Drain() => os.Drain(_kick);

    /// <summary>Forgets the driver's event: the ring has stopped.</summary>
    public void Stop()
    {
        Replace(ref _kick, None);
        IsPolled = false;
        IsRunning = false;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        Stop();
        Replace(ref _call, None);
        IsEnabled = false;
        Address = null;
        Size = 0;
        Base = 0;
    }

    private void Replace(ref int file, int by)
    {
        if (file != None)
        {
            os.Close(file);
        }

        file = by < 0 ? None : by;
    }
}
